/* A library to preload: it makes the n-th call of one function fail.

   FAILING_CALL names a file of `struct control` that is shared with the test. Calls are counted once
   `armed` is not 0; the library sets it itself when the process opens a path that ends with `arm`.
   Reads, writes and syncs count only on regular files, since a pipe or an eventfd gives no EIO. */

#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum call { OPEN, READ, STAT, READDIR, RENAME, WRITE, SYNC, THREAD, PROCESS, CALLS };

struct control {
    _Atomic uint32_t armed, failing, nth, error, fired;
    _Atomic uint32_t counts[CALLS];
    char arm[256], where[256]; /* `where`: what the call that failed was about */
};

static struct control *control;

__attribute__((constructor)) static void attach(void) {
    const char *path = getenv("FAILING_CALL");
    int fd = path == NULL ? -1 : (int)syscall(SYS_openat, AT_FDCWD, path, O_RDWR | O_CLOEXEC);
    if (fd < 0) return;
    void *shared = mmap(NULL, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (shared != MAP_FAILED) control = shared;
    unsetenv("FAILING_CALL"); /* calls of its children do not count */
}

/* Count a call; whether it has to fail, with errno set. */
static int fails(enum call call, const char *about, int fd) {
    if (control == NULL || !control->armed) return 0;
    uint32_t count = atomic_fetch_add(&control->counts[call], 1) + 1;
    if (control->failing != (uint32_t)call || control->nth != count || control->fired) return 0;
    control->fired = 1;
    char link[64];
    if (about != NULL) {
        strncpy(control->where, about, sizeof control->where - 1);
    } else if (fd >= 0) {
        snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
        ssize_t length = readlink(link, control->where, sizeof control->where - 1);
        control->where[length < 0 ? 0 : length] = 0;
    }
    errno = (int)control->error;
    return 1;
}

static int fails_on(enum call call, int fd) {
    struct stat found;
    if (control == NULL || !control->armed) return 0;
    if (syscall(SYS_fstat, fd, &found) != 0 || !S_ISREG(found.st_mode)) return 0;
    return fails(call, NULL, fd);
}

static void arms(const char *path) {
    if (control == NULL || control->armed || path == NULL || control->arm[0] == 0) return;
    size_t length = strlen(path), wanted = strlen(control->arm);
    if (length >= wanted && strcmp(path + length - wanted, control->arm) == 0) control->armed = 1;
}

static int fails_open(const char *path) {
    arms(path);
    return fails(OPEN, path, -1);
}

#define REAL(name) \
    static __typeof__(&name) real; \
    if (real == NULL) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

#define OPEN_CALL(name) \
    int name(const char *path, int flags, ...) { \
        va_list rest; \
        va_start(rest, flags); \
        mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0; \
        va_end(rest); \
        REAL(name); \
        return fails_open(path) ? -1 : real(path, flags, mode); \
    }
#define OPENAT_CALL(name) \
    int name(int folder, const char *path, int flags, ...) { \
        va_list rest; \
        va_start(rest, flags); \
        mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0; \
        va_end(rest); \
        REAL(name); \
        return fails_open(path) ? -1 : real(folder, path, flags, mode); \
    }
#define CALL(result, failed, name, parameters, arguments, test) \
    result name parameters { \
        REAL(name); \
        return test ? failed : real arguments; \
    }

OPEN_CALL(open)
OPEN_CALL(open64)
OPENAT_CALL(openat)
OPENAT_CALL(openat64)
CALL(DIR *, NULL, opendir, (const char *path), (path), fails(OPEN, path, -1))
CALL(DIR *, NULL, fdopendir, (int fd), (fd), fails(OPEN, NULL, fd))

CALL(ssize_t, -1, read, (int fd, void *to, size_t size), (fd, to, size), fails_on(READ, fd))
CALL(ssize_t, -1, pread, (int fd, void *to, size_t size, off_t at), (fd, to, size, at), fails_on(READ, fd))
CALL(ssize_t, -1, pread64, (int fd, void *to, size_t size, off64_t at), (fd, to, size, at), fails_on(READ, fd))

CALL(ssize_t, -1, write, (int fd, const void *of, size_t size), (fd, of, size), fails_on(WRITE, fd))
CALL(ssize_t, -1, pwrite, (int fd, const void *of, size_t size, off_t at), (fd, of, size, at), fails_on(WRITE, fd))
CALL(ssize_t, -1, pwrite64, (int fd, const void *of, size_t size, off64_t at), (fd, of, size, at), fails_on(WRITE, fd))

CALL(int, -1, fsync, (int fd), (fd), fails_on(SYNC, fd))
CALL(int, -1, fdatasync, (int fd), (fd), fails_on(SYNC, fd))

CALL(int, -1, stat, (const char *path, struct stat *to), (path, to), fails(STAT, path, -1))
CALL(int, -1, stat64, (const char *path, struct stat64 *to), (path, to), fails(STAT, path, -1))
CALL(int, -1, lstat, (const char *path, struct stat *to), (path, to), fails(STAT, path, -1))
CALL(int, -1, lstat64, (const char *path, struct stat64 *to), (path, to), fails(STAT, path, -1))
CALL(int, -1, fstat, (int fd, struct stat *to), (fd, to), fails_on(STAT, fd))
CALL(int, -1, fstat64, (int fd, struct stat64 *to), (fd, to), fails_on(STAT, fd))
CALL(int, -1, fstatat, (int fd, const char *path, struct stat *to, int flags), (fd, path, to, flags), fails(STAT, path, -1))
CALL(int, -1, fstatat64, (int fd, const char *path, struct stat64 *to, int flags), (fd, path, to, flags), fails(STAT, path, -1))

CALL(struct dirent *, NULL, readdir, (DIR *folder), (folder), fails(READDIR, NULL, dirfd(folder)))
CALL(struct dirent64 *, NULL, readdir64, (DIR *folder), (folder), fails(READDIR, NULL, dirfd(folder)))

CALL(int, -1, rename, (const char *old, const char *new), (old, new), fails(RENAME, old, -1))
CALL(int, -1, renameat, (int from, const char *old, int to, const char *new), (from, old, to, new), fails(RENAME, old, -1))
CALL(int, -1, renameat2, (int from, const char *old, int to, const char *new, unsigned flags), (from, old, to, new, flags), fails(RENAME, old, -1))

/* These return their error. */
CALL(int, errno, pthread_create, (pthread_t *to, const pthread_attr_t *how, void *(*work)(void *), void *with), (to, how, work, with), fails(THREAD, "pthread_create", -1))

/* fork(2) stands in for vfork(2), which cannot return through a function of its caller's. */
pid_t vfork(void) { return fails(PROCESS, "vfork", -1) ? -1 : fork(); }

/* openat2 has no function in the C library. */
long syscall(long number, ...) {
    va_list rest;
    va_start(rest, number);
    long a = va_arg(rest, long), b = va_arg(rest, long), c = va_arg(rest, long);
    long d = va_arg(rest, long), e = va_arg(rest, long), f = va_arg(rest, long);
    va_end(rest);
    static long (*real)(long, ...);
    if (real == NULL) real = (long (*)(long, ...))dlsym(RTLD_NEXT, "syscall");
    if (number == SYS_openat2 && fails_open((const char *)b)) return -1;
    return real(number, a, b, c, d, e, f);
}
