// Loaded by cross/check into the ARM program when it runs under qemu-user; no part of the product.
//
// Why it exists: to the terminal requests TCGETS2, TCSETS2, TCSETSW2 and TCSETSF2, Debian 12's qemu-user (7.2) answers
// ENOSYS; every kernel knows them (asm-generic/ioctls.h). serialport makes them through the C library's `ioctl`,
// rustix by an `svc` instruction of its own; without an answer neither opens the pseudo-terminal of the demo's node.
//
// What it does: it stands in for `ioctl`, and it turns the `svc` of each inlined ioctl in the program into a breakpoint
// whose signal it answers. Either way the emulator is asked first: one that knows the requests is really used. Where it
// does not, they become TCGETS, TCSETS, TCSETSW and TCSETSF: the same fields, only without the speeds.
#define _GNU_SOURCE
#include <asm/ioctls.h>
#include <asm/termbits.h>
#include <errno.h>
#include <link.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

_Static_assert(offsetof(struct termios2, c_ispeed) == sizeof(struct termios), "termios2 is termios, then the speeds");

// Baud, as last set on any terminal: nothing in a pseudo-terminal goes by it, but who set one expects it back.
static volatile speed_t speed = 115200;

static int get(int fd, struct termios2 *to) {
    int result = syscall(SYS_ioctl, fd, TCGETS, to);
    if (result == 0) {
        to->c_cflag = (to->c_cflag & ~(CBAUD | CIBAUD)) | BOTHER;
        to->c_ispeed = to->c_ospeed = speed;
    }
    return result;
}

static int set(int fd, unsigned long request, const struct termios2 *from) {
    struct termios2 plain = *from;
    // The old requests have no BOTHER ("the speed is in c_ospeed"), so the line gets a speed that they do have.
    plain.c_cflag = (plain.c_cflag & ~(CBAUD | CIBAUD)) | B115200;
    int result = syscall(SYS_ioctl, fd, request, &plain);
    if (result == 0 && from->c_ospeed != 0)
        speed = from->c_ospeed;
    return result;
}

int ioctl(int fd, unsigned long request, ...) {
    va_list arguments;
    va_start(arguments, request);
    void *argument = va_arg(arguments, void *);
    va_end(arguments);
    int result = syscall(SYS_ioctl, fd, request, argument);
    // ENOTTY is what an emulator ought to say to a request that it does not know. A real "no terminal" comes again.
    if (result != -1 || (errno != ENOSYS && errno != ENOTTY))
        return result;
    switch ((unsigned int)request) { // rustix hands it over in 32 bits, the C library in 64
    case TCGETS2: return get(fd, argument);
    case TCSETS2: return set(fd, TCSETS, argument);
    case TCSETSW2: return set(fd, TCSETSW, argument);
    case TCSETSF2: return set(fd, TCSETSF, argument);
    default: return result;
    }
}

// --- ioctls that do not pass through the C library ------------------------------------------------------------------

#if defined(__aarch64__)
#define SVC 0xd4000001u                          // svc #0
#define BRK 0xd4200000u                          // brk #0
#define NUMBER_A (0x52800008u | (SYS_ioctl << 5)) // mov w8, #SYS_ioctl
#define NUMBER_B (0xd2800008u | (SYS_ioctl << 5)) // mov x8, #SYS_ioctl
#define NUMBER(cpu) ((cpu)->regs[8])
#define ARGUMENT(cpu, n) ((cpu)->regs[n])
#define PC(cpu) ((cpu)->pc)
#elif defined(__arm__) // Rust's armv7 target is in ARM state, not in Thumb
#define SVC 0xef000000u                     // svc #0
#define BRK 0xe7f001f0u                     // the breakpoint that Linux knows
#define NUMBER_A (0xe3a07000u | SYS_ioctl)  // mov r7, #SYS_ioctl
#define NUMBER_B (0xe3007000u | SYS_ioctl)  // movw r7, #SYS_ioctl
#define NUMBER(cpu) ((cpu)->arm_r7)
#define ARGUMENT(cpu, n) ((&(cpu)->arm_r0)[n])
#define PC(cpu) ((cpu)->arm_pc)
#endif
// How far before its `svc` the number is looked for, in instructions. One that is missed fails as if there was no shim.
#define WINDOW 16

static void answer(int signal, siginfo_t *information, void *context) {
    (void)signal, (void)information;
    mcontext_t *cpu = &((ucontext_t *)context)->uc_mcontext;
    if (*(uint32_t *)PC(cpu) != BRK || NUMBER(cpu) != SYS_ioctl)
        abort(); // somebody else's breakpoint
    int before = errno;
    int result = ioctl((int)ARGUMENT(cpu, 0), (unsigned int)ARGUMENT(cpu, 1), ARGUMENT(cpu, 2));
    ARGUMENT(cpu, 0) = result == -1 ? -(long)errno : result;
    errno = before;
    PC(cpu) += sizeof(uint32_t);
}

static void patch(uint32_t *code, size_t count) {
    for (size_t at = 0; at < count; at++) {
        if (code[at] != SVC)
            continue;
        for (size_t back = 1; back <= WINDOW && back <= at && code[at - back] != SVC; back++)
            if (code[at - back] == NUMBER_A || code[at - back] == NUMBER_B) {
                code[at] = BRK;
                break;
            }
    }
}

static int patch_program(struct dl_phdr_info *object, size_t size, void *data) {
    (void)size, (void)data;
    size_t page = sysconf(_SC_PAGESIZE);
    for (int i = 0; i < object->dlpi_phnum; i++) {
        const ElfW(Phdr) *segment = &object->dlpi_phdr[i];
        if (segment->p_type != PT_LOAD || !(segment->p_flags & PF_X))
            continue;
        uintptr_t start = object->dlpi_addr + segment->p_vaddr, from = start & ~(page - 1);
        size_t length = start + segment->p_memsz - from;
        if (mprotect((void *)from, length, PROT_READ | PROT_WRITE) != 0)
            abort();
        patch((uint32_t *)start, segment->p_memsz / sizeof(uint32_t));
        if (mprotect((void *)from, length, PROT_READ | PROT_EXEC) != 0)
            abort();
        __builtin___clear_cache((char *)start, (char *)start + segment->p_memsz);
    }
    return 1; // the first object is the program; the libraries make their calls through `ioctl`
}

__attribute__((constructor)) static void begin(void) {
    struct sigaction action = {.sa_sigaction = answer, .sa_flags = SA_SIGINFO};
    if (sigaction(SIGTRAP, &action, NULL) != 0)
        abort();
    dl_iterate_phdr(patch_program, NULL);
}
