/*
 * The benchmark's programs and the init that runs them. As process 1 of an initramfs it runs those that the kernel's
 * command line names (bench=sieve,fib), each in a process of its own, and powers the machine off; started on an
 * ordinary system it runs those named as arguments. On standard output, the serial port:
 *
 *   LODGE-BENCH userspace
 *   LODGE-BENCH cpu FLAGS
 *   LODGE-BENCH begin NAME
 *   LODGE-BENCH end NAME seconds=S checksum=HEX
 *   LODGE-BENCH done
 *
 * With bench.minutes=N the programs are repeated for so long.
 */
#define _GNU_SOURCE
#include "bench.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

static const struct {
    const char *name;
    uint64_t (*run)(void);
} items[] = {
    {"sieve", run_sieve},       {"fib", run_fib},           {"xorshift64", run_xorshift64}, {"crc32", run_crc32},
    {"qsort", run_qsort},       {"sha256", run_sha256},     {"compress", run_compress},     {"bytecode", run_bytecode},
    {"matrix", run_matrix},     {"x87", run_x87},           {"sse2", run_sse2},             {"copy", run_copy},
    {"chase", run_chase},       {"syscalls", run_syscalls}, {"forks", run_forks},           {"faults", run_faults},
    {"pipes", run_pipes},
};

void fail(const char *what)
{
    printf("LODGE-BENCH failed %s\n", what);
    fflush(stdout);
    _exit(1);
}

void *allocate(size_t bytes)
{
    void *memory = aligned_alloc(64, (bytes + 63) & ~(size_t)63);
    if (memory == NULL)
        fail("out of memory");
    return memory;
}

const uint8_t *text(size_t *length)
{
    const char *path = getenv("LODGE_BENCH_TEXT");
    int file = open(path != NULL ? path : "/text", O_RDONLY);
    struct stat status;
    if (file < 0 || fstat(file, &status) != 0)
        fail("the text to compress is missing");
    *length = (size_t)status.st_size;
    void *content = mmap(NULL, *length, PROT_READ, MAP_PRIVATE | MAP_POPULATE, file, 0);
    if (content == MAP_FAILED)
        fail("the text to compress cannot be mapped");
    close(file);
    return content;
}

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

/* A line is on its way when this returns: what follows is not timed with it. */
static void say(const char *line)
{
    printf("LODGE-BENCH %s\n", line);
    fflush(stdout);
    tcdrain(STDOUT_FILENO);
}

/* Runs the program in a process of its own, which starts with memory of its own. */
static void run_item(const char *name)
{
    char line[160];
    for (size_t i = 0; i < sizeof items / sizeof *items; i++) {
        if (strcmp(items[i].name, name) != 0)
            continue;
        snprintf(line, sizeof line, "begin %s", name);
        say(line);
        pid_t child = fork();
        if (child < 0)
            fail("fork");
        if (child == 0) {
            double start = now();
            uint64_t checksum = items[i].run();
            double seconds = now() - start;
            snprintf(line, sizeof line, "end %s seconds=%.6f checksum=%016llx", name, seconds,
                     (unsigned long long)checksum);
            say(line);
            _exit(0);
        }
        int status;
        if (waitpid(child, &status, 0) != child || status != 0) {
            snprintf(line, sizeof line, "failed %s with status %x", name, (unsigned)status);
            say(line);
        }
        return;
    }
    snprintf(line, sizeof line, "failed there is no program %s", name);
    say(line);
}

/* The value of `key` on the kernel's command line, copied to `value`; false when it is not there. */
static int option(const char *key, char *value, size_t size)
{
    char line[2048] = "";
    int file = open("/proc/cmdline", O_RDONLY);
    ssize_t length = file < 0 ? 0 : read(file, line, sizeof line - 1);
    close(file);
    line[length > 0 ? length : 0] = 0;
    for (char *rest, *word = strtok_r(line, " \n", &rest); word != NULL; word = strtok_r(NULL, " \n", &rest))
        if (strncmp(word, key, strlen(key)) == 0 && word[strlen(key)] == '=') {
            snprintf(value, size, "%s", word + strlen(key) + 1);
            return 1;
        }
    return 0;
}

static void print_flags(void)
{
    static char line[4096];
    FILE *file = fopen("/proc/cpuinfo", "r");
    while (file != NULL && fgets(line, sizeof line, file) != NULL)
        if (strncmp(line, "flags", 5) == 0) {
            printf("LODGE-BENCH cpu %s", strchr(line, ':') + 2);
            break;
        }
    if (file != NULL)
        fclose(file);
}

static int be_init(void)
{
    char names[1024], minutes[16];
    mount("dev", "/dev", "devtmpfs", 0, NULL);
    mount("proc", "/proc", "proc", 0, NULL);
    mount("sys", "/sys", "sysfs", 0, NULL);
    /* The kernel's messages would come between ours. */
    int level = open("/proc/sys/kernel/printk", O_WRONLY);
    if (level < 0 || write(level, "1\n", 2) != 2)
        fail("/proc/sys/kernel/printk");
    close(level);
    int console = open("/dev/ttyS0", O_RDWR | O_NOCTTY);
    if (console >= 0)
        for (int i = 0; i < 3; i++)
            dup2(console, i);
    print_flags();
    double end = now() + (option("bench.minutes", minutes, sizeof minutes) ? atof(minutes) * 60 : 0);
    if (!option("bench", names, sizeof names))
        names[0] = 0;
    do {
        char list[sizeof names];
        strcpy(list, names);
        for (char *rest, *name = strtok_r(list, ",", &rest); name != NULL; name = strtok_r(NULL, ",", &rest))
            run_item(name);
    } while (now() < end);
    say("done");
    reboot(RB_POWER_OFF);
    return 1;
}

int main(int count, char **arguments)
{
    if (getpid() == 1) {
        say("userspace");
        return be_init();
    }
    for (int i = 1; i < count; i++)
        run_item(arguments[i]);
    return 0;
}
