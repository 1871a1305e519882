#define _GNU_SOURCE
#include "cplatform.h"

#include <crypt.h>
#include <errno.h>
#include <malloc.h>
#include <fcntl.h>
#include <pthread.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/timex.h>
#include <unistd.h>

struct start {
    void (*body)(void *);
    void *context;
    char name[16];
};

static void *run(void *raw) {
    struct start start = *(struct start *)raw;
    free(raw);
    pthread_setname_np(pthread_self(), start.name);
    start.body(start.context);
    return NULL;
}

int kops_start_thread(const char *name, void (*body)(void *), void *context) {
    struct start *start = calloc(1, sizeof *start);
    if (start == NULL) return ENOMEM;
    start->body = body;
    start->context = context;
    strncpy(start->name, name, sizeof start->name - 1);
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&attributes, 8 << 20);
    pthread_t thread;
    int result = pthread_create(&thread, &attributes, run, start);
    pthread_attr_destroy(&attributes);
    if (result != 0) free(start);
    return result;
}

int kops_password_matches(const char *password, const char *hash) {
    struct crypt_data *data = calloc(1, sizeof *data);
    if (data == NULL) return 0;
    const char *made = crypt_r(password, hash, data);
    size_t length = strlen(hash);
    int differs = made == NULL || strlen(made) != length;
    if (!differs) {
        for (size_t i = 0; i < length; i++) differs |= made[i] ^ hash[i];
    }
    free(data);
    return !differs;
}

int kops_clock_is_synchronised(long *error) {
    struct timex state = {0};
    if (adjtimex(&state) < 0) return -1;
    *error = state.esterror;
    return state.status & STA_UNSYNC ? 0 : 1;
}
void kops_limit_heaps(void) {
    // A body or a buffer from 256 KiB on goes back to the system when it is freed; without a fixed bound glibc raises it to
    // 32 MiB with the first large block that is freed.
    mallopt(M_ARENA_MAX, 2);
    mallopt(M_MMAP_THRESHOLD, 256 << 10);
    mallopt(M_TRIM_THRESHOLD, 1 << 20);
}

void kops_keep_heaps(size_t bytes) {
    mallopt(M_MMAP_THRESHOLD, 2 << 20);
    mallopt(M_TRIM_THRESHOLD, (int)bytes);
}

void kops_trim_heaps(void) {
    malloc_trim(0);
    // What lies free at the end of a heap other than the first goes back only when a large block before it is freed.
    void *volatile block = malloc(256 << 10);
    free(block);
}
int kops_pipe(int ends[2]) { return pipe2(ends, O_CLOEXEC); }

int kops_spawn_closes_from(void *actions, int first) {
    return posix_spawn_file_actions_addclosefrom_np(actions, first);
}
