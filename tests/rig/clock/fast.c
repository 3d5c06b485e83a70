/* A clock that runs faster, for one unmodified program (LD_PRELOAD): what it reads of the time is ahead, and what it waits for is nearer.

     LAMPPOST_CLOCK_SPEED       simulated seconds in a real one
     LAMPPOST_CLOCK_ZERO_NS     CLOCK_MONOTONIC from which on time is fast; before, it passes as it does, so that a program can start in peace
     LAMPPOST_CLOCK_WALL_NS     what the wall clock shows at that moment, nanoseconds since 1970

   All processes that are given the same three live in the same time. Debian's libfaketime does not serve
   here: it leaves alone what Rust's standard library waits with, the system call futex until a moment of CLOCK_MONOTONIC, and C11's
   cnd_timedwait, which librdkafka waits with. Such waits then end at a moment of the fast clock that the real one reaches days later.
   The gateway's own clock asks the kernel's vDSO past the C library: its clock_gettime is made to jump here, which is known for x86-64 alone.
   What else knows of time is left as it is: processor time, the times of files, timeouts of sockets, TCP. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <threads.h>
#include <time.h>
#include <unistd.h>

#define SECOND 1000000000LL

static int64_t speed, zero, wall;

static int64_t asked(const char *name) {
    const char *given = getenv(name);
    char *end = NULL;
    int64_t value = given == NULL ? 0 : strtoll(given, &end, 10);
    if (value <= 0 || *end != '\0') {
        fprintf(stderr, "fast clock: %s has to be a number above 0\n", name);
        _exit(97);
    }
    return value;
}

/* Other libraries' constructors may look at the clock before ours has run. */
static void ready(void) {
    if (__builtin_expect(speed == 0, 0)) {
        zero = asked("LAMPPOST_CLOCK_ZERO_NS");
        wall = asked("LAMPPOST_CLOCK_WALL_NS");
        __atomic_store_n(&speed, asked("LAMPPOST_CLOCK_SPEED"), __ATOMIC_SEQ_CST);
    }
}

#define REAL(name) __extension__({ \
        static __typeof__(name) *real; \
        if (real == NULL) real = (__typeof__(name) *)dlsym(RTLD_NEXT, #name); \
        real; })

static int64_t ns_of(const struct timespec *t) { return t->tv_sec * SECOND + t->tv_nsec; }
static struct timespec timespec_of(int64_t ns) {
    if (ns < 0) ns = 0;
    return (struct timespec){.tv_sec = ns / SECOND, .tv_nsec = ns % SECOND};
}

static int64_t real_now(void) {
    struct timespec t;
    REAL(syscall)(SYS_clock_gettime, CLOCK_MONOTONIC, &t);
    return ns_of(&t);
}
static int64_t fast_at(int64_t real) {
    ready();
    return real < zero ? real : zero + (real - zero) * speed;
}
static int64_t fast_now(void) { return fast_at(real_now()); }
static int is_wall(clockid_t clock) { return clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE || clock == CLOCK_TAI; }
static int is_ours(clockid_t clock) {
    return is_wall(clock) || clock == CLOCK_MONOTONIC || clock == CLOCK_MONOTONIC_COARSE || clock == CLOCK_MONOTONIC_RAW || clock == CLOCK_BOOTTIME;
}
/* A moment of one of the fast clocks as one of the real CLOCK_MONOTONIC; never before it is there. */
static int64_t real_moment(int64_t fast, int of_wall) {
    ready();
    int64_t since = of_wall ? fast - wall : fast - zero;
    return since < 0 ? zero + since : zero + (since + speed - 1) / speed;
}
/* A wait from now on, as a real one. */
static int64_t shorter(int64_t ns) {
    if (ns <= 0) return ns;
    int64_t now = real_now();
    return real_moment(fast_at(now) + ns, 0) - now;
}

int clock_gettime(clockid_t clock, struct timespec *t) {
    if (!is_ours(clock)) return REAL(syscall)(SYS_clock_gettime, clock, t);
    int64_t now = fast_now();
    *t = timespec_of(is_wall(clock) ? wall + (now - zero) : now);
    return 0;
}

int gettimeofday(struct timeval *restrict t, void *restrict zone) {
    (void)zone;
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    *t = (struct timeval){.tv_sec = now.tv_sec, .tv_usec = now.tv_nsec / 1000};
    return 0;
}

time_t time(time_t *t) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (t != NULL) *t = now.tv_sec;
    return now.tv_sec;
}

int nanosleep(const struct timespec *wanted, struct timespec *left) {
    struct timespec wait = timespec_of(shorter(ns_of(wanted)));
    int failed = REAL(nanosleep)(&wait, left);
    if (failed && left != NULL) *left = timespec_of(ns_of(left) * speed);
    return failed;
}

int clock_nanosleep(clockid_t clock, int flags, const struct timespec *wanted, struct timespec *left) {
    if (!is_ours(clock)) return REAL(clock_nanosleep)(clock, flags, wanted, left);
    if (flags & TIMER_ABSTIME) {
        struct timespec until = timespec_of(real_moment(ns_of(wanted), is_wall(clock)));
        return REAL(clock_nanosleep)(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
    }
    return nanosleep(wanted, left) ? errno : 0;
}

int poll(struct pollfd *fds, nfds_t count, int timeout_ms) {
    struct timespec wait = timespec_of(shorter(timeout_ms * 1000000LL));
    return REAL(ppoll)(fds, count, timeout_ms < 0 ? NULL : &wait, NULL);
}

int epoll_wait(int epoll, struct epoll_event *events, int max, int timeout_ms) {
    struct timespec wait = timespec_of(shorter(timeout_ms * 1000000LL));
    return REAL(epoll_pwait2)(epoll, events, max, timeout_ms < 0 ? NULL : &wait, NULL);
}

int select(int count, fd_set *restrict reads, fd_set *restrict writes, fd_set *restrict errors, struct timeval *restrict timeout) {
    struct timespec wait;
    if (timeout != NULL) wait = timespec_of(shorter(timeout->tv_sec * SECOND + timeout->tv_usec * 1000LL));
    return REAL(pselect)(count, reads, writes, errors, timeout == NULL ? NULL : &wait, NULL);
}

int pthread_cond_clockwait(pthread_cond_t *cond, pthread_mutex_t *mutex, clockid_t clock, const struct timespec *until) {
    struct timespec moment = timespec_of(real_moment(ns_of(until), is_wall(clock)));
    return REAL(pthread_cond_clockwait)(cond, mutex, CLOCK_MONOTONIC, &moment);
}

int pthread_cond_timedwait(pthread_cond_t *cond, pthread_mutex_t *mutex, const struct timespec *until) {
    /* The clock that the condition was made with: glibc keeps it in this bit. */
    return pthread_cond_clockwait(cond, mutex, cond->__data.__wrefs & 2 ? CLOCK_MONOTONIC : CLOCK_REALTIME, until);
}

int cnd_timedwait(cnd_t *restrict cond, mtx_t *restrict mutex, const struct timespec *restrict until) {
    /* In glibc these are the types of pthreads under other names. */
    int status = pthread_cond_clockwait((pthread_cond_t *)cond, (pthread_mutex_t *)mutex, CLOCK_REALTIME, until);
    return status == 0 ? thrd_success : status == ETIMEDOUT ? thrd_timedout : thrd_error;
}

long syscall(long number, ...) {
    va_list list;
    va_start(list, number);
    long a = va_arg(list, long), b = va_arg(list, long), c = va_arg(list, long), d = va_arg(list, long), e = va_arg(list, long), f = va_arg(list, long);
    va_end(list);
    if (number == SYS_futex && (b & FUTEX_CMD_MASK) == FUTEX_WAIT_BITSET && d != 0) {
        struct timespec until = timespec_of(real_moment(ns_of((const struct timespec *)d), (b & FUTEX_CLOCK_REALTIME) != 0));
        return REAL(syscall)(number, a, b & ~(long)FUTEX_CLOCK_REALTIME, c, &until, e, f);
    }
    if (number == SYS_futex && (b & FUTEX_CMD_MASK) == FUTEX_WAIT && d != 0) {
        struct timespec wait = timespec_of(shorter(ns_of((const struct timespec *)d)));
        return REAL(syscall)(number, a, b, c, &wait, e, f);
    }
    return REAL(syscall)(number, a, b, c, d, e, f);
}

static int of_vdso(clockid_t clock, struct timespec *t) {
    /* A system call has no errno. */
    return clock_gettime(clock, t) ? -EINVAL : 0;
}

static void fail(const char *what) {
    fprintf(stderr, "fast clock: %s\n", what);
    _exit(97);
}

__attribute__((constructor)) static void begin(void) {
    ready();
#ifndef __x86_64__
#error "only the vDSO of x86-64 is known here"
#endif
    void *vdso = dlopen("linux-vdso.so.1", RTLD_NOW | RTLD_NOLOAD);
    unsigned char *code = vdso == NULL ? NULL : dlsym(vdso, "__vdso_clock_gettime");
    if (code == NULL) fail("there is no clock_gettime in the vDSO");
    /* movabs $of_vdso, %rax; jmp *%rax */
    unsigned char jump[12] = {0x48, 0xb8, [10] = 0xff, 0xe0};
    void *to = (void *)of_vdso;
    memcpy(jump + 2, &to, sizeof to);
    /* The vDSO's pages can't be made writable where the kernel seals them; a debugger's way is open to the process itself. */
    int memory = open("/proc/self/mem", O_WRONLY | O_CLOEXEC);
    if (memory < 0 || pwrite(memory, jump, sizeof jump, (off_t)(uintptr_t)code) != sizeof jump) fail("the vDSO can't be written to");
    close(memory);
}
