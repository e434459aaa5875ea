/*
 * Carries out single x87 or MMX instructions on the host's processor. On standard input come requests, on standard
 * output go as many answers:
 *   request: 108 bytes FRSTOR image, 16 bytes of memory at RDI, 12 bytes of code (ending in RET), u32 EAX
 *   answer:  108 bytes FNSAVE image, 16 bytes of memory, u32 arithmetic flags, u32 EAX
 * EFLAGS are clear but for the carry flags that the code sets itself.
 */
#define _GNU_SOURCE
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

struct request {
  uint8_t image[108];
  uint8_t memory[16];
  uint8_t code[12];
  uint32_t eax;
};

struct answer {
  uint8_t image[108];
  uint8_t memory[16];
  uint32_t flags;
  uint32_t eax;
};

int main(void) {
  uint8_t *code = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (code == MAP_FAILED) {
    return 2;
  }
  static struct request request;
  static struct answer answer;
  static uint8_t last[12];
  while (fread(&request, sizeof request, 1, stdin) == 1) {
    if (memcmp(last, request.code, sizeof last) != 0) {
      memcpy(last, request.code, sizeof last);
      memcpy(code, request.code, sizeof last);
      __asm__ volatile("cpuid" ::"a"(0) : "rbx", "rcx", "rdx", "memory");
    }
    memcpy(answer.memory, request.memory, 16);
    uint64_t rax = request.eax, flags;
    __asm__ volatile("frstor %[in]\n\t"
                     "pushq $2\n\t"
                     "popfq\n\t"
                     "call *%[code]\n\t"
                     "pushfq\n\t"
                     "popq %[flags]\n\t"
                     "fnsave %[out]\n\t"
                     "cld"
                     : [out] "=m"(answer.image), [flags] "=b"(flags), "+a"(rax)
                     : [in] "m"(request.image), [code] "c"(code), "D"(answer.memory)
                     : "memory", "cc", "rdx", "st", "st(1)", "st(2)", "st(3)", "st(4)", "st(5)", "st(6)", "st(7)");
    answer.flags = (uint32_t)flags & 0x8d5;
    answer.eax = (uint32_t)rax;
    fwrite(&answer, sizeof answer, 1, stdout);
  }
  return fflush(stdout) == 0 ? 0 : 3;
}
