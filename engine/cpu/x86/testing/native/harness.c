/*
 * Runs instructions on the host's own processor, in user mode, and reports the state they leave.
 *
 * Every case is entered by returning from a signal handler whose saved context holds the case's registers, and left by
 * a trap or fault, whose handler finds the resulting registers in its context: no assembly code is needed, and all
 * state (flags, x87, XMM, MXCSR, the code segment) is loaded and stored by the kernel at once. Cases run in 64-bit code
 * or, through the kernel's 32-bit code segment, in 32-bit code.
 *
 * Protocol on standard input and output, little endian:
 *   in:  u32 window address, u32 window bytes, u32 code address, u32 code bytes, u32 bytes of code per case,
 *        u32 templates, then the templates (window bytes each); then any number of batches:
 *        u32 cases, their records, their code
 *   out: per batch the records, u32 differences, and the differences: words of the window that are not as in the
 *        case's template
 */
#define _GNU_SOURCE
#include <asm/prctl.h>
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <ucontext.h>
#include <unistd.h>

#define FX_BYTES 416
#define YMM_BYTES 256
#define YMM_OFFSET 576
#define XSTATE_BV_OFFSET 512
#define XFEATURES_OFFSET 472
#define XFEATURE_YMM 4
#define MAGIC_OFFSET 464
#define XSTATE_MAGIC 0x46505853u

struct record {
  uint64_t gpr[16];
  uint64_t rip;
  uint64_t flags;
  uint32_t vector;
  uint32_t error;
  uint64_t address;
  uint32_t bits;
  uint32_t template;
  uint8_t fx[FX_BYTES];
  uint8_t ymm[YMM_BYTES];
};

struct difference {
  uint32_t index;
  uint32_t offset;
  uint64_t value;
};

static const int order[16] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
                              REG_R8,  REG_R9,  REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15};

static uint8_t *window, *code, *templates;
static uint32_t window_bytes, code_bytes, case_bytes;
static struct record *records;
static struct difference *differences;
static uint32_t difference_count, difference_room;
static volatile uint32_t cases, current;
static sigjmp_buf finished;

static void fail(const char *what) {
  fprintf(stderr, "%s (case %u): %s\n", what, current, strerror(errno));
  _exit(1);
}

/* Whether a saved context holds the upper halves of the YMM registers. */
static int has_ymm(const uint8_t *fx) {
  return *(const uint32_t *)(fx + MAGIC_OFFSET) == XSTATE_MAGIC && (*(const uint64_t *)(fx + XFEATURES_OFFSET) & XFEATURE_YMM);
}

static void store(const ucontext_t *context, const siginfo_t *info, int signal) {
  struct record *record = &records[current];
  const greg_t *regs = context->uc_mcontext.gregs;
  for (int i = 0; i < 16; i++) {
    record->gpr[i] = regs[order[i]];
  }
  record->rip = regs[REG_RIP];
  record->flags = regs[REG_EFL];
  record->vector = regs[REG_TRAPNO];
  record->error = regs[REG_ERR];
  record->address = regs[REG_CR2];
  (void)info;
  (void)signal;
  const uint8_t *fx = (const uint8_t *)context->uc_mcontext.fpregs;
  memcpy(record->fx, fx, FX_BYTES);
  if (has_ymm(fx) && (*(const uint64_t *)(fx + XSTATE_BV_OFFSET) & XFEATURE_YMM)) {
    memcpy(record->ymm, fx + YMM_OFFSET, YMM_BYTES);
  } else {
    memset(record->ymm, 0, YMM_BYTES);
  }
  const uint64_t *now = (const uint64_t *)window;
  const uint64_t *before = (const uint64_t *)(templates + (size_t)record->template * window_bytes);
  for (uint32_t page = 0; page < window_bytes; page += 256) {
    if (memcmp(window + page, (const uint8_t *)before + page, 256) == 0) {
      continue;
    }
    for (uint32_t i = page / 8; i < page / 8 + 32; i++) {
      if (now[i] != before[i]) {
        if (difference_count == difference_room) {
          difference_room = difference_room * 2 + 4096;
          differences = realloc(differences, difference_room * sizeof *differences);
        }
        differences[difference_count++] = (struct difference){current, i * 8, now[i]};
      }
    }
  }
}

static void load(ucontext_t *context) {
  const struct record *record = &records[current];
  greg_t *regs = context->uc_mcontext.gregs;
  memcpy(window, templates + (size_t)record->template * window_bytes, window_bytes);
  for (int i = 0; i < 16; i++) {
    regs[order[i]] = record->gpr[i];
  }
  regs[REG_RIP] = record->rip;
  regs[REG_EFL] = record->flags;
  regs[REG_CSGSFS] = (record->bits == 32 ? 0x23 : 0x33) | 0x002b000000000000;
  uint8_t *fx = (uint8_t *)context->uc_mcontext.fpregs;
  memcpy(fx, record->fx, FX_BYTES);
  if (*(uint32_t *)(fx + MAGIC_OFFSET) == XSTATE_MAGIC) {
    *(uint64_t *)(fx + XSTATE_BV_OFFSET) |= 3;
  }
  if (has_ymm(fx)) {
    memcpy(fx + YMM_OFFSET, record->ymm, YMM_BYTES);
    *(uint64_t *)(fx + XSTATE_BV_OFFSET) |= XFEATURE_YMM;
  }
}

static void handler(int signal, siginfo_t *info, void *argument) {
  ucontext_t *context = argument;
  if (signal == SIGALRM) {
    fail("a case does not end");
  }
  if (signal != SIGUSR1) {
    store(context, info, signal);
    current++;
  }
  if (current == cases) {
    siglongjmp(finished, 1);
  }
  load(context);
}

static void read_all(void *into, size_t length) {
  for (size_t done = 0; done < length;) {
    ssize_t count = read(0, (char *)into + done, length - done);
    if (count <= 0) {
      _exit(count == 0 && done == 0 ? 0 : 1);
    }
    done += count;
  }
}

static void write_all(const void *from, size_t length) {
  for (size_t done = 0; done < length;) {
    ssize_t count = write(1, (const char *)from + done, length - done);
    if (count <= 0) {
      _exit(1);
    }
    done += count;
  }
}

static uint8_t *map(uint32_t address, size_t length, int protection) {
  void *at = mmap((void *)(uintptr_t)address, length, protection, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
  if (at == MAP_FAILED || at != (void *)(uintptr_t)address) {
    fail("cannot map");
  }
  return at;
}

int main(void) {
  uint32_t header[6];
  read_all(header, sizeof header);
  window_bytes = header[1];
  code_bytes = header[3];
  case_bytes = header[4];
  window = map(header[0], window_bytes, PROT_READ | PROT_WRITE);
  code = map(header[2], code_bytes, PROT_READ | PROT_WRITE);
  templates = malloc((size_t)header[5] * window_bytes);
  read_all(templates, (size_t)header[5] * window_bytes);

  static uint8_t stack[1 << 18];
  stack_t alternate = {.ss_sp = stack, .ss_size = sizeof stack};
  if (sigaltstack(&alternate, NULL) != 0) {
    fail("sigaltstack");
  }
  struct sigaction action = {.sa_sigaction = handler, .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER};
  const int signals[] = {SIGUSR1, SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP, SIGALRM};
  for (unsigned i = 0; i < sizeof signals / sizeof *signals; i++) {
    sigaction(signals[i], &action, NULL);
  }
  // 32-bit code needs usable data segments; GS points into the window.
  __asm__ volatile("mov %0, %%ds; mov %0, %%es" : : "r"(0x2b));
  syscall(SYS_arch_prctl, ARCH_SET_GS, (unsigned long)header[0] + window_bytes / 2);

  for (;;) {
    uint32_t count;
    read_all(&count, sizeof count);
    records = realloc(records, count * sizeof *records);
    read_all(records, count * sizeof *records);
    if (mprotect(code, code_bytes, PROT_READ | PROT_WRITE) != 0) {
      fail("mprotect");
    }
    read_all(code, (size_t)count * case_bytes);
    if (mprotect(code, code_bytes, PROT_READ | PROT_EXEC) != 0) {
      fail("mprotect");
    }
    difference_count = 0;
    cases = count;
    current = 0;
    struct itimerval limit = {.it_value = {.tv_sec = 20}};
    setitimer(ITIMER_REAL, &limit, NULL);
    if (sigsetjmp(finished, 1) == 0) {
      raise(SIGUSR1);
    }
    limit.it_value.tv_sec = 0;
    setitimer(ITIMER_REAL, &limit, NULL);
    write_all(records, count * sizeof *records);
    write_all(&difference_count, sizeof difference_count);
    write_all(differences, difference_count * sizeof *differences);
  }
}
