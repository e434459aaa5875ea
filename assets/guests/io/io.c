/*
 * Exercises disks and the network of a guest, for tests and for the benchmark. Without a C library's help for what it
 * measures: reads and writes go past the page cache (O_DIRECT), several at a time by the kernel's own asynchronous I/O.
 *
 *   io disk DEVICE read|write sequential|random BYTES DEPTH SECONDS
 *       accesses of BYTES each, DEPTH of them under way:     IO disk operations=N seconds=S errors=E
 *   io verify DEVICE SEED SECONDS
 *       writes blocks of 512 bytes to 64 KiB at random places, reads everything back, compares:
 *                                                            IO verify writes=N sectors=N mismatches=N errors=E
 *   io receive ADDRESS PORT SECONDS, io send ADDRESS PORT SECONDS
 *       takes or sends TCP data as fast as it goes:          IO tcp bytes=N seconds=S
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <linux/fs.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define MAX_DEPTH 128
#define SECTOR 512
#define MAX_BLOCK 65536
/* What verify works on: its record of what was written has four bytes a sector. */
#define MAX_VERIFIED_SECTORS (1u << 18)

static void fail(const char *what)
{
    printf("IO failed %s: %s\n", what, strerror(errno));
    exit(1);
}

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

static uint64_t state;

/* xorshift64* */
static uint32_t random32(void)
{
    state ^= state >> 12;
    state ^= state << 25;
    state ^= state >> 27;
    return (uint32_t)((state * 0x2545f4914f6cdd1dull) >> 32);
}

static int open_device(const char *path, uint64_t *bytes)
{
    int file = open(path, O_RDWR | O_DIRECT);
    if (file < 0)
        fail(path);
    if (ioctl(file, BLKGETSIZE64, bytes) != 0)
        fail("the size of the device");
    return file;
}

static void *aligned(size_t bytes)
{
    void *memory;
    if (posix_memalign(&memory, 4096, bytes) != 0)
        fail("memory");
    memset(memory, 0x5a, bytes);
    return memory;
}

static void disk(const char *path, int writing, int sequential, size_t block, int depth, double seconds)
{
    uint64_t bytes, next = 0, operations = 0, errors = 0;
    int file = open_device(path, &bytes);
    uint32_t blocks = (uint32_t)(bytes / block);
    aio_context_t context = 0;
    static struct iocb requests[MAX_DEPTH];
    struct iocb *list[MAX_DEPTH];
    struct io_event events[MAX_DEPTH];
    if (syscall(SYS_io_setup, MAX_DEPTH, &context) != 0)
        fail("io_setup");
    for (int i = 0; i < depth; i++) {
        requests[i].aio_fildes = (uint32_t)file;
        requests[i].aio_lio_opcode = writing ? IOCB_CMD_PWRITE : IOCB_CMD_PREAD;
        requests[i].aio_buf = (uintptr_t)aligned(block);
        requests[i].aio_nbytes = block;
        list[i] = &requests[i];
    }
    int ready = depth, under_way = 0;
    double start = now(), end = start;
    do {
        int more = end - start < seconds;
        for (int i = 0; more && i < ready; i++)
            list[i]->aio_offset = (int64_t)((sequential ? next++ % blocks : random32() % blocks) * block);
        if (more && ready > 0) {
            if (syscall(SYS_io_submit, context, ready, list) != ready)
                fail("io_submit");
            under_way += ready;
            ready = 0;
        }
        long count = syscall(SYS_io_getevents, context, 1L, (long)MAX_DEPTH, events, NULL);
        if (count < 0)
            fail("io_getevents");
        for (long i = 0; i < count; i++) {
            if (events[i].res != (int64_t)block)
                errors++;
            list[ready++] = (struct iocb *)(uintptr_t)events[i].obj;
        }
        operations += (uint64_t)count;
        under_way -= (int)count;
        end = now();
    } while (under_way > 0 || end - start < seconds);
    printf("IO disk operations=%llu seconds=%.3f errors=%llu\n", (unsigned long long)operations, end - start,
           (unsigned long long)errors);
}

/* What a sector holds after its `version`th writing: every word tells sector, version and place. */
static void fill(uint32_t *words, uint32_t sector, uint32_t version)
{
    uint32_t value = (sector * 0x9e3779b9u) ^ (version * 0x85ebca6bu);
    for (int i = 0; i < SECTOR / 4; i++)
        words[i] = version == 0 ? 0 : value + (uint32_t)i * 0xc2b2ae35u;
}

static uint64_t compare(int file, const uint32_t *versions, uint32_t sector, uint32_t count, uint8_t *buffer,
                        uint64_t *errors)
{
    uint64_t mismatches = 0;
    uint32_t expected[SECTOR / 4];
    if (pread(file, buffer, count * SECTOR, (off_t)sector * SECTOR) != (ssize_t)(count * SECTOR)) {
        ++*errors;
        return 0;
    }
    for (uint32_t i = 0; i < count; i++) {
        fill(expected, sector + i, versions[sector + i]);
        if (versions[sector + i] != 0 && memcmp(expected, buffer + i * SECTOR, SECTOR) != 0)
            mismatches++;
    }
    return mismatches;
}

static void verify(const char *path, uint64_t seed, double seconds)
{
    uint64_t bytes, writes = 0, mismatches = 0, errors = 0, checked = 0;
    int file = open_device(path, &bytes);
    uint32_t sectors = bytes / SECTOR > MAX_VERIFIED_SECTORS ? MAX_VERIFIED_SECTORS : (uint32_t)(bytes / SECTOR);
    uint32_t *versions = calloc(sectors, sizeof *versions);
    uint8_t *buffer = aligned(MAX_BLOCK);
    state = seed * 2 + 1;
    for (double end = now() + seconds; now() < end;) {
        uint32_t count = random32() % 4 == 0 ? 1 + random32() % (MAX_BLOCK / SECTOR) : 1 + random32() % 8;
        uint32_t sector = random32() % (sectors - count + 1);
        for (uint32_t i = 0; i < count; i++)
            fill((uint32_t *)(void *)(buffer + i * SECTOR), sector + i, versions[sector + i] + 1);
        if (pwrite(file, buffer, count * SECTOR, (off_t)sector * SECTOR) != (ssize_t)(count * SECTOR)) {
            errors++;
            continue;
        }
        for (uint32_t i = 0; i < count; i++)
            versions[sector + i]++;
        if (++writes % 64 == 0 && fdatasync(file) != 0)
            errors++;
        if (random32() % 4 == 0) {
            uint32_t length = 1 + random32() % (MAX_BLOCK / SECTOR);
            mismatches += compare(file, versions, random32() % (sectors - length + 1), length, buffer, &errors);
        }
    }
    for (uint32_t sector = 0; sector < sectors;) {
        uint32_t count = sectors - sector < MAX_BLOCK / SECTOR ? sectors - sector : MAX_BLOCK / SECTOR;
        mismatches += compare(file, versions, sector, count, buffer, &errors);
        for (uint32_t i = 0; i < count; i++)
            checked += versions[sector + i] != 0;
        sector += count;
    }
    printf("IO verify writes=%llu sectors=%llu mismatches=%llu errors=%llu\n", (unsigned long long)writes,
           (unsigned long long)checked, (unsigned long long)mismatches, (unsigned long long)errors);
}

static void tcp(int sending, const char *address, int port, double seconds)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    inet_pton(AF_INET, address, &to.sin_addr);
    int connection = socket(AF_INET, SOCK_STREAM, 0);
    if (connection < 0 || connect(connection, (struct sockaddr *)&to, sizeof to) != 0)
        fail("connecting");
    /* The other end is told what is wanted. */
    char wish = sending ? 's' : 'r';
    if (write(connection, &wish, 1) != 1)
        fail("asking");
    size_t size = 256 << 10;
    uint8_t *buffer = aligned(size);
    uint64_t bytes = 0;
    double start = now(), end = start;
    while (end - start < seconds) {
        ssize_t count = sending ? write(connection, buffer, size) : read(connection, buffer, size);
        if (count <= 0)
            fail("moving data");
        bytes += (uint64_t)count;
        end = now();
    }
    if (sending) {
        /* All of it has arrived when the other end closes too. */
        shutdown(connection, SHUT_WR);
        while (read(connection, buffer, size) > 0) {
        }
        end = now();
    }
    printf("IO tcp bytes=%llu seconds=%.3f\n", (unsigned long long)bytes, end - start);
}

int main(int count, char **words)
{
    const char *command = count > 1 ? words[1] : "";
    state = 0x9e3779b97f4a7c15ull;
    if (strcmp(command, "disk") == 0 && count == 8)
        disk(words[2], words[3][0] == 'w', words[4][0] == 's', (size_t)atol(words[5]), atoi(words[6]), atof(words[7]));
    else if (strcmp(command, "verify") == 0 && count == 5)
        verify(words[2], strtoull(words[3], NULL, 0), atof(words[4]));
    else if ((strcmp(command, "receive") == 0 || strcmp(command, "send") == 0) && count == 5)
        tcp(command[0] == 's', words[2], atoi(words[3]), atof(words[4]));
    else
        printf("IO failed wrong words\n");
    return 0;
}
