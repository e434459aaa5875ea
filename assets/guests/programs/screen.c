/*
 * What a desktop does with monitors and input devices, without the desktop: shows a picture on every monitor in the
 * resolution that it prefers, follows when that changes, has a pointer, and prints what input devices report.
 *
 *   screen N 1024x768            a monitor's picture now has this size
 *   event NAME TYPE CODE VALUE   from /dev/input/event*
 *
 * Linux's interfaces for displays (drm/drm_mode.h) and input devices (linux/input.h). Linked statically, for an initramfs.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/input.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

struct resources {
  uint64_t fbs, crtcs, connectors, encoders;
  uint32_t fb_count, crtc_count, connector_count, encoder_count, min_width, max_width, min_height, max_height;
};

struct mode {
  uint32_t clock;
  uint16_t width, hsync_start, hsync_end, htotal, hskew, height, vsync_start, vsync_end, vtotal, vscan;
  uint32_t refresh, flags, type;
  char name[32];
};

struct connector {
  uint64_t encoders, modes, properties, values;
  uint32_t mode_count, property_count, encoder_count, encoder, id, type, type_id, connection, mm_width, mm_height;
  uint32_t subpixel, pad;
};

struct crtc {
  uint64_t connectors;
  uint32_t connector_count, id, fb, x, y, gamma_size, mode_valid;
  struct mode mode;
};

struct cursor {
  uint32_t flags, crtc;
  int32_t x, y;
  uint32_t width, height, handle;
  int32_t hot_x, hot_y;
};

struct framebuffer {
  uint32_t id, width, height, pitch, bits_per_pixel, depth, handle;
};

struct dumb {
  uint32_t height, width, bits_per_pixel, flags, handle, pitch;
  uint64_t size;
};

struct mapping {
  uint32_t handle, pad;
  uint64_t offset;
};

#define GET_RESOURCES _IOWR('d', 0xa0, struct resources)
#define SET_CRTC _IOWR('d', 0xa2, struct crtc)
#define GET_CONNECTOR _IOWR('d', 0xa7, struct connector)
#define ADD_FRAMEBUFFER _IOWR('d', 0xae, struct framebuffer)
#define REMOVE_FRAMEBUFFER _IOWR('d', 0xaf, uint32_t)
#define CREATE_DUMB _IOWR('d', 0xb2, struct dumb)
#define MAP_DUMB _IOWR('d', 0xb3, struct mapping)
#define DESTROY_DUMB _IOWR('d', 0xb4, uint32_t)
#define SET_CURSOR _IOWR('d', 0xbb, struct cursor)

#define MODE_PREFERRED 8
#define CURSOR_IMAGE_AND_PLACE 3
#define MAX_MODES 128
#define MAX_HEADS 16
#define MAX_INPUTS 16
#define CURSOR_SIDE 64

static int card;

static void check(int result, const char *what) {
  if (result < 0) {
    printf("failed %s: %s\n", what, strerror(errno));
    exit(1);
  }
}

/* Memory for pixels, 32 bits each. */
static uint32_t *make_buffer(struct dumb *buffer, uint32_t width, uint32_t height) {
  struct mapping mapping = {0};
  memset(buffer, 0, sizeof *buffer);
  buffer->width = width;
  buffer->height = height;
  buffer->bits_per_pixel = 32;
  check(ioctl(card, CREATE_DUMB, buffer), "a buffer");
  mapping.handle = buffer->handle;
  check(ioctl(card, MAP_DUMB, &mapping), "its place");
  uint32_t *pixels = mmap(0, buffer->size, PROT_READ | PROT_WRITE, MAP_SHARED, card, (off_t)mapping.offset);
  check(pixels == MAP_FAILED ? -1 : 0, "its memory");
  return pixels;
}

struct head {
  uint32_t crtc, connector, fb, handle;
  uint16_t width, height;
};

/* The resolution that a monitor prefers; asking makes the driver look at it again. */
static int preferred(uint32_t id, struct mode *result) {
  static struct mode modes[MAX_MODES];
  struct connector connector = {.id = id};
  check(ioctl(card, GET_CONNECTOR, &connector), "a connector");
  uint32_t count = connector.mode_count < MAX_MODES ? connector.mode_count : MAX_MODES;
  struct connector again = {.id = id, .modes = (uint64_t)(uintptr_t)modes, .mode_count = count};
  if (count == 0) {
    return 0;
  }
  check(ioctl(card, GET_CONNECTOR, &again), "modes");
  *result = modes[0];
  for (uint32_t i = 0; i < count; i++) {
    if (modes[i].type & MODE_PREFERRED) {
      *result = modes[i];
      break;
    }
  }
  return 1;
}

/* A picture of one colour for each head, with a white frame. */
static void show(int index, struct head *head, const struct mode *mode) {
  static const uint32_t colours[] = {0x204080, 0x803020, 0x206020, 0x602060};
  struct dumb buffer;
  uint32_t *pixels = make_buffer(&buffer, mode->width, mode->height);
  uint32_t stride = buffer.pitch / 4;
  for (uint32_t y = 0; y < mode->height; y++) {
    for (uint32_t x = 0; x < mode->width; x++) {
      int edge = x == 0 || y == 0 || x == mode->width - 1u || y == mode->height - 1u;
      pixels[y * stride + x] = edge ? 0xffffff : colours[index % 4];
    }
  }
  munmap(pixels, buffer.size);
  struct framebuffer fb = {
      .width = mode->width,
      .height = mode->height,
      .pitch = buffer.pitch,
      .bits_per_pixel = 32,
      .depth = 24,
      .handle = buffer.handle,
  };
  check(ioctl(card, ADD_FRAMEBUFFER, &fb), "a framebuffer");
  struct crtc crtc = {
      .connectors = (uint64_t)(uintptr_t)&head->connector,
      .connector_count = 1,
      .id = head->crtc,
      .fb = fb.id,
      .mode_valid = 1,
      .mode = *mode,
  };
  check(ioctl(card, SET_CRTC, &crtc), "a mode");
  if (head->fb != 0) {
    ioctl(card, REMOVE_FRAMEBUFFER, &head->fb);
    ioctl(card, DESTROY_DUMB, &head->handle);
  }
  head->fb = fb.id;
  head->handle = buffer.handle;
  head->width = mode->width;
  head->height = mode->height;
  printf("screen %d %ux%u\n", index, mode->width, mode->height);
}

/* A red square of 16 pixels that points with its middle, at (100, 50). */
static void show_pointer(uint32_t crtc) {
  struct dumb buffer;
  uint32_t *pixels = make_buffer(&buffer, CURSOR_SIDE, CURSOR_SIDE);
  memset(pixels, 0, buffer.size);
  for (int y = 0; y < 16; y++) {
    for (int x = 0; x < 16; x++) {
      pixels[y * (int)(buffer.pitch / 4) + x] = 0xffff0000;
    }
  }
  munmap(pixels, buffer.size);
  struct cursor cursor = {
      .flags = CURSOR_IMAGE_AND_PLACE,
      .crtc = crtc,
      .x = 100,
      .y = 50,
      .width = CURSOR_SIDE,
      .height = CURSOR_SIDE,
      .handle = buffer.handle,
      .hot_x = 8,
      .hot_y = 8,
  };
  check(ioctl(card, SET_CURSOR, &cursor), "a pointer");
}

int main(void) {
  static uint32_t crtcs[MAX_HEADS], connectors[MAX_HEADS], encoders[MAX_HEADS], fbs[MAX_HEADS];
  static struct head heads[MAX_HEADS];
  static struct pollfd inputs[MAX_INPUTS];
  static char names[MAX_INPUTS][64];
  int input_count = 0;
  setvbuf(stdout, 0, _IOLBF, 0);
  card = open("/dev/dri/card0", O_RDWR);
  check(card, "/dev/dri/card0");
  struct resources resources = {0};
  check(ioctl(card, GET_RESOURCES, &resources), "resources");
  if (resources.crtc_count > MAX_HEADS || resources.connector_count > MAX_HEADS ||
      resources.encoder_count > MAX_HEADS || resources.fb_count > MAX_HEADS) {
    printf("failed: too many of something\n");
    return 1;
  }
  resources.crtcs = (uint64_t)(uintptr_t)crtcs;
  resources.connectors = (uint64_t)(uintptr_t)connectors;
  resources.encoders = (uint64_t)(uintptr_t)encoders;
  resources.fbs = (uint64_t)(uintptr_t)fbs;
  check(ioctl(card, GET_RESOURCES, &resources), "resources");
  int head_count = (int)resources.connector_count;
  for (int i = 0; i < head_count; i++) {
    heads[i].crtc = crtcs[i];
    heads[i].connector = connectors[i];
  }
  for (int i = 0; i < MAX_INPUTS; i++) {
    char path[32];
    snprintf(path, sizeof path, "/dev/input/event%d", i);
    int file = open(path, O_RDONLY | O_NONBLOCK);
    if (file >= 0) {
      ioctl(file, EVIOCGNAME(sizeof names[0]), names[input_count]);
      inputs[input_count].fd = file;
      inputs[input_count].events = POLLIN;
      input_count++;
    }
  }
  printf("%d monitors, %d input devices\n", head_count, input_count);
  for (int round = 0;; round++) {
    for (int i = 0; i < head_count; i++) {
      struct mode mode;
      if (preferred(heads[i].connector, &mode) && (mode.width != heads[i].width || mode.height != heads[i].height)) {
        show(i, &heads[i], &mode);
      }
    }
    if (round == 0) {
      show_pointer(heads[0].crtc);
      printf("pointer\n");
    }
    if (poll(inputs, (nfds_t)input_count, 200) <= 0) {
      continue;
    }
    for (int i = 0; i < input_count; i++) {
      struct input_event event;
      while (inputs[i].revents != 0 && read(inputs[i].fd, &event, sizeof event) == sizeof event) {
        printf("event %s %d %d %d\n", names[i], event.type, event.code, event.value);
      }
    }
  }
}
