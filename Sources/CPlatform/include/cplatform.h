// Calls of the operating system that Swift cannot make itself: variadics, macros and GNU extensions.
#ifndef KOPS_CPLATFORM_H
#define KOPS_CPLATFORM_H
#include "crc32c.h"
// Starts a detached thread with 8 MiB of stack and a name of at most 15 bytes; 0, or an error number.
int kops_start_thread(const char *name, void (*body)(void *context), void *context);
// 1 where `password` hashed with the setting that `hash` begins with gives `hash` (crypt(5): bcrypt and others); else 0.
int kops_password_matches(const char *password, const char *hash);
#endif
