/* What programs ask of the kernel: system calls, processes, memory, and pipes between processes. */
#define _GNU_SOURCE
#include "bench.h"

#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* A million of the cheapest system calls. */
uint64_t run_syscalls(void)
{
    enum { CALLS = 1000000 };
    uint64_t wrong = 0;
    long parent = syscall(SYS_getppid);
    for (int i = 0; i < CALLS; i++)
        wrong += syscall(SYS_getppid) != parent;
    return mix(mix(MIX_START, wrong), CALLS);
}

/* 500 processes, one after another, each writing to some memory that it shares with its parent until then. */
uint64_t run_forks(void)
{
    enum { FORKS = 500, BYTES = 1 << 20, PAGE = 4096 };
    volatile uint8_t *memory = allocate(BYTES);
    for (int i = 0; i < BYTES; i += PAGE)
        memory[i] = (uint8_t)(i / PAGE);
    uint64_t sum = MIX_START;
    for (int i = 0; i < FORKS; i++) {
        pid_t child = fork();
        if (child < 0)
            fail("fork");
        if (child == 0) {
            for (int page = 0; page < 16; page++)
                memory[page * PAGE] ^= (uint8_t)i;
            _exit(memory[i % 16 * PAGE] & 0x7f);
        }
        int status;
        if (waitpid(child, &status, 0) != child || !WIFEXITED(status))
            fail("waitpid");
        sum = mix(sum, (uint64_t)WEXITSTATUS(status));
    }
    return sum;
}

/* Pages of fresh memory touched for the first time, and given back. */
uint64_t run_faults(void)
{
    enum { BYTES = 32 << 20, PAGE = 4096, ROUNDS = 8 };
    uint64_t sum = MIX_START;
    for (int round = 0; round < ROUNDS; round++) {
        uint8_t *memory = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (memory == MAP_FAILED)
            fail("mmap");
        madvise(memory, BYTES, MADV_NOHUGEPAGE);
        uint64_t total = 0;
        for (int i = 0; i < BYTES; i += PAGE) {
            total += memory[i];
            memory[i] = (uint8_t)(i / PAGE + round);
        }
        for (int i = 0; i < BYTES; i += 16 * PAGE)
            total += memory[i];
        sum = mix(sum, total);
        munmap(memory, BYTES);
    }
    return sum;
}

static void exactly(ssize_t (*transfer)(int, void *, size_t), int file, void *data, size_t length)
{
    for (uint8_t *at = data; length > 0;) {
        ssize_t done = transfer(file, at, length);
        if (done <= 0)
            fail("a pipe");
        at += done;
        length -= (size_t)done;
    }
}

static ssize_t write_some(int file, void *data, size_t length)
{
    return write(file, data, length);
}

/* A ball thrown to and fro between two processes, then a stream of 24 MiB in one direction. */
uint64_t run_pipes(void)
{
    enum { THROWS = 8192, CHUNK = 16384, CHUNKS = 1536 };
    int forth[2], back[2];
    if (pipe(forth) != 0 || pipe(back) != 0)
        fail("pipe");
    uint8_t *chunk = allocate(CHUNK);
    pid_t child = fork();
    if (child < 0)
        fail("fork");
    if (child == 0) {
        uint64_t ball;
        for (int i = 0; i < THROWS; i++) {
            exactly(read, forth[0], &ball, sizeof ball);
            ball = ball * 3 + 1;
            exactly(write_some, back[1], &ball, sizeof ball);
        }
        for (int i = 0; i < CHUNKS; i++) {
            chunk[i % CHUNK] = (uint8_t)i;
            exactly(write_some, back[1], chunk, CHUNK);
        }
        _exit(0);
    }
    uint64_t ball = 1, sum = MIX_START;
    for (int i = 0; i < THROWS; i++) {
        exactly(write_some, forth[1], &ball, sizeof ball);
        exactly(read, back[0], &ball, sizeof ball);
        sum = mix(sum, ball);
    }
    for (int i = 0; i < CHUNKS; i++) {
        exactly(read, back[0], chunk, CHUNK);
        sum = mix(sum, chunk[i % CHUNK]);
    }
    int status;
    if (waitpid(child, &status, 0) != child || status != 0)
        fail("the other end of the pipes");
    for (int i = 0; i < 2; i++) {
        close(forth[i]);
        close(back[i]);
    }
    return sum;
}
