/*
 * Plays and records by ALSA's system calls alone, so that it needs no library and no configuration:
 *
 *     sound play FRAMES     plays the pattern below, waits until all of it was heard, says how long that took
 *     sound record FRAMES   records and compares with the pattern from its start on
 *
 * The pattern, of 16 bits and two channels at 48 kHz: frame i is i * 7919 on the left, and its complement on the right.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>
#include <sound/asound.h>

enum { RATE = 48000, CHANNELS = 2, PERIOD = 960, PERIODS = 4 };

static void fail(const char *what)
{
    printf("sound-failed %s: %s\n", what, strerror(errno));
    exit(1);
}

static void set_mask(struct snd_pcm_hw_params *params, int which, unsigned value)
{
    struct snd_mask *mask = &params->masks[which - SNDRV_PCM_HW_PARAM_FIRST_MASK];
    memset(mask, 0, sizeof *mask);
    mask->bits[value >> 5] = 1u << (value & 31);
}

static void set_number(struct snd_pcm_hw_params *params, int which, unsigned value)
{
    struct snd_interval *interval = &params->intervals[which - SNDRV_PCM_HW_PARAM_FIRST_INTERVAL];
    interval->min = interval->max = value;
    interval->integer = 1;
}

static int open_device(const char *path, int flags)
{
    struct snd_pcm_hw_params params;
    int device = open(path, flags);
    if (device < 0) {
        fail(path);
    }
    memset(&params, 0, sizeof params);
    memset(params.masks, 0xff, sizeof params.masks);
    memset(params.mres, 0xff, sizeof params.mres);
    for (unsigned i = 0; i < sizeof params.intervals / sizeof *params.intervals; i++) {
        params.intervals[i].max = ~0u;
    }
    params.rmask = ~0u;
    set_mask(&params, SNDRV_PCM_HW_PARAM_ACCESS, SNDRV_PCM_ACCESS_RW_INTERLEAVED);
    set_mask(&params, SNDRV_PCM_HW_PARAM_FORMAT, SNDRV_PCM_FORMAT_S16_LE);
    set_number(&params, SNDRV_PCM_HW_PARAM_CHANNELS, CHANNELS);
    set_number(&params, SNDRV_PCM_HW_PARAM_RATE, RATE);
    set_number(&params, SNDRV_PCM_HW_PARAM_PERIOD_SIZE, PERIOD);
    set_number(&params, SNDRV_PCM_HW_PARAM_PERIODS, PERIODS);
    if (ioctl(device, SNDRV_PCM_IOCTL_HW_PARAMS, &params) < 0) {
        fail("hw_params");
    }
    if (ioctl(device, SNDRV_PCM_IOCTL_PREPARE) < 0) {
        fail("prepare");
    }
    return device;
}

static void pattern(int16_t *frame, unsigned i)
{
    frame[0] = (int16_t)(i * 7919u);
    frame[1] = (int16_t)~frame[0];
}

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1e3 + time.tv_nsec / 1e6;
}

int main(int argc, char **argv)
{
    unsigned frames = argc > 2 ? strtoul(argv[2], NULL, 10) : 0;
    int16_t *samples = calloc(frames, CHANNELS * sizeof *samples);
    struct snd_xferi transfer = { .buf = samples, .frames = frames };
    if (frames == 0 || samples == NULL) {
        return 2;
    }
    if (strcmp(argv[1], "play") == 0) {
        int device = open_device("/dev/snd/pcmC0D0p", O_RDWR);
        for (unsigned i = 0; i < frames; i++) {
            pattern(samples + CHANNELS * i, i);
        }
        double start = now();
        if (ioctl(device, SNDRV_PCM_IOCTL_WRITEI_FRAMES, &transfer) < 0) {
            fail("writei");
        }
        if (ioctl(device, SNDRV_PCM_IOCTL_DRAIN) < 0) {
            fail("drain");
        }
        printf("sound-played %u frames in %.0f ms\n", frames, now() - start);
        close(device);
    } else {
        int device = open_device("/dev/snd/pcmC0D0c", O_RDWR);
        unsigned wrong = 0;
        double start = now();
        if (ioctl(device, SNDRV_PCM_IOCTL_START) < 0) {
            fail("start");
        }
        if (ioctl(device, SNDRV_PCM_IOCTL_READI_FRAMES, &transfer) < 0) {
            fail("readi");
        }
        for (unsigned i = 0; i < frames; i++) {
            int16_t expected[CHANNELS];
            pattern(expected, i);
            wrong += memcmp(expected, samples + CHANNELS * i, sizeof expected) != 0;
        }
        printf("sound-recorded %u frames in %.0f ms, %u of them wrong\n", frames, now() - start, wrong);
        close(device);
    }
    return 0;
}
