/*
 * The C library's string and mathematical functions, which choose their code by the processor's features, and loops that
 * the compiler makes vectors of. Prints a checksum of all results after each part; started as init it powers off.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/reboot.h>
#include <unistd.h>

static uint64_t state = 88172645463325252u;
static uint64_t sum = 1469598103934665603u;

static uint64_t random64(void) {
  state ^= state << 13;
  state ^= state >> 7;
  state ^= state << 17;
  return state;
}

static void add(uint64_t value) {
  for (int i = 0; i < 64; i += 8) {
    sum = (sum ^ ((value >> i) & 0xff)) * 1099511628211u;
  }
}

static void add_double(double value) {
  uint64_t bits;
  memcpy(&bits, &value, sizeof bits);
  add(bits);
}

static void add_place(const char *found, const char *start) {
  add(found == NULL ? ~0u : (uint64_t)(found - start));
}

static void strings(void) {
  static char a[9000], b[9000];
  for (int round = 0; round < 10000; round++) {
    int from = random64() % 64, to = random64() % 64, length = random64() % (round % 50 == 0 ? 4000 : 200);
    for (int i = 0; i < length; i++) {
      a[from + i] = 1 + random64() % 255;
    }
    a[from + length] = 0;
    memset(b, 0x55, sizeof b);
    memcpy(b + to, a + from, length + 1);
    add(strlen(b + to));
    add(memcmp(b + to, a + from, length + 1) == 0);
    char wanted = 1 + random64() % 255;
    add_place(strchr(b + to, wanted), b);
    add_place(memchr(b, wanted, to + length), b);
    add_place(strrchr(b + to, wanted), b);
    memmove(b + to + random64() % 40, b + to, length);
    add(b[to + length / 2]);
    if (length > 3) {
      b[to + length / 2] ^= 1;
      add(strcmp(b + to, a + from) > 0);
    }
    memset(b + from, round, length);
    add(b[from + length]);
  }
}

static void mathematics(void) {
  for (int round = 0; round < 20000; round++) {
    double x = (double)(int64_t)random64() / 1e18, y = fabs((double)(int64_t)random64() / 1e17) + 1e-3;
    const double results[] = {sin(x),      cos(x * 100),   exp(x),       log(y),   pow(y, x / 3), atan2(x, y),
                              tan(x),      fma(x, y, -x * y), expf(x),   sinf(x),  floor(x * 7),  rint(x * 9),
                              trunc(y)};
    for (unsigned i = 0; i < sizeof results / sizeof *results; i++) {
      add_double(results[i]);
    }
  }
}

static void loops(void) {
  static float a[64][64], b[64][64], c[64][64];
  static double line[4096];
  static uint32_t words[1024];
  for (int i = 0; i < 64; i++) {
    for (int j = 0; j < 64; j++) {
      a[i][j] = (int)(random64() % 2000) - 1000;
      b[i][j] = (random64() % 2000) / 7.0f;
    }
  }
  for (int i = 0; i < 64; i++) {
    for (int k = 0; k < 64; k++) {
      for (int j = 0; j < 64; j++) {
        c[i][j] += a[i][k] * b[k][j];
      }
    }
  }
  for (int i = 0; i < 4096; i++) {
    add_double(c[i / 64][i % 64]);
    line[i] = (double)(random64() % 100000) / 3;
    words[i % 1024] = random64();
  }
  for (int round = 0; round < 50; round++) {
    for (int i = 1; i < 4095; i++) {
      line[i] = line[i] * 0.5 + line[i - 1] * 0.25 + line[i + 1] * 0.25;
    }
    for (int i = 0; i < 1024; i++) {
      uint32_t word = words[i];
      word = (word * 2654435761u) ^ (word >> (word & 15));
      words[i] = word + __builtin_popcount(word) + (word ? __builtin_ctz(word) + __builtin_clz(word) : 0);
    }
  }
  for (int i = 0; i < 4096; i++) {
    add_double(line[i]);
    add(words[i % 1024]);
  }
}

int main(void) {
  int init = getpid() == 1;
  if (init) {
    int console = open("/dev/console", O_RDWR);
    dup2(console, 1);
  }
  printf("x86-64-v3 %d\n", __builtin_cpu_supports("x86-64-v3") != 0);
  strings();
  printf("strings %016llx\n", (unsigned long long)sum);
  mathematics();
  printf("mathematics %016llx\n", (unsigned long long)sum);
  loops();
  printf("loops %016llx\nfinished\n", (unsigned long long)sum);
  fflush(stdout);
  if (init) {
    sleep(1);
    reboot(RB_POWER_OFF);
  }
  return 0;
}
