// Calls of the operating system that Swift cannot make itself: variadics, macros and GNU extensions.
#ifndef KOPS_CPLATFORM_H
#define KOPS_CPLATFORM_H
#include <stddef.h>
#include "crc32c.h"
// Starts a detached thread with 8 MiB of stack and a name of at most 15 bytes; 0, or an error number.
int kops_start_thread(const char *name, void (*body)(void *context), void *context);
// 1 where `password` hashed with the setting that `hash` begins with gives `hash` (crypt(5): bcrypt and others); else 0.
int kops_password_matches(const char *password, const char *hash);
// Whether the kernel's clock is kept in time (adjtimex(2)): 1 or 0, and -1 where it does not tell; the estimated error in
// microseconds goes to `error`.
int kops_clock_is_synchronised(long *error);
// Has memory that is soon written to brought near; an address of nothing does no harm.
static inline void kops_prefetch(const void *address) { __builtin_prefetch(address, 1, 3); }
// Keeps glibc's allocator from keeping a heap for each thread. Call once, before threads are started.
void kops_limit_heaps(void);
// A heap keeps so many free bytes at its end and gives back what is above them; blocks from 2 MiB on go back by themselves.
void kops_keep_heaps(size_t bytes);
// Gives the system back what the allocator holds and nobody uses.
void kops_trim_heaps(void);
// pipe2(2) with both ends closed in programs that are started; 0, or -1 with errno set.
int kops_pipe(int ends[2]);
// A program started with these actions (a posix_spawn_file_actions_t) has no descriptor from `first` on; 0, or an error number.
int kops_spawn_closes_from(void *actions, int first);
#endif
