/*
 * wanemu: a WAN access link between two network namespaces: rate, delay, jitter, a tail-drop queue and random loss,
 * each way, in user space between two TAP devices. For kernels without sch_netem.
 *
 * usage: wanemu NETNS_A IF_A NETNS_B IF_B RATE_BPS DELAY_US JITTER_US QUEUE_BYTES LOSS_PPM SEED
 *
 * RATE_BPS 0 is unlimited. A frame counts with its Ethernet header, as the interface counters do. Order is kept.
 * Prints "ready" once both devices exist. SIGUSR1 prints one line of JSON counters; SIGUSR2 cuts the link without a word,
 * and mends it the next time; SIGTERM and SIGINT end it.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

enum {
  MAX_FRAME_BYTES = 65536, /* the largest read a TAP device gives without offloads is its MTU; this is always enough */
  MAX_FRAMES = 1 << 16,    /* on the way in one direction: over 90 MB of full frames; more are dropped as if the queue were full */
  READ_BATCH = 64,         /* frames of one direction before the other has its turn */
  SLACK_NS = 50000,        /* a frame due this soon goes now: below what a timer can tell apart */
  SEND_BUFFER = 4 << 20,   /* bytes the kernel side of a TAP device may hold for a slow reader */
};

struct config {
  double bytes_per_ns; /* 0: unlimited */
  int64_t delay_ns, jitter_ns;
  double queue_bytes, loss;
  int is_cut;
};

struct frame {
  struct frame *next;
  int64_t due_ns;
  size_t length;
  uint8_t data[];
};

struct direction {
  int in, out;
  struct frame *head, *tail;
  size_t frames;
  int64_t free_ns;     /* when the last accepted frame has left the bottleneck */
  int64_t last_due_ns; /* nothing overtakes it */
  uint64_t packets, bytes, queue_drops, losses;
};

static void die(const char *what) {
  perror(what);
  exit(1);
}

static int64_t now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

static int enter(const char *netns) {
  char path[256];
  snprintf(path, sizeof path, "/run/netns/%s", netns);
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0 || setns(fd, CLONE_NEWNET) < 0) die(path);
  return close(fd);
}

static int open_tap(const char *netns, const char *name) {
  enter(netns);
  int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
  if (fd < 0) die("/dev/net/tun");
  struct ifreq request = {.ifr_flags = IFF_TAP | IFF_NO_PI};
  snprintf(request.ifr_name, sizeof request.ifr_name, "%s", name);
  if (ioctl(fd, TUNSETIFF, &request) < 0) die(name);
  int bytes = SEND_BUFFER;
  if (ioctl(fd, TUNSETSNDBUF, &bytes) < 0) die("TUNSETSNDBUF");
  return fd;
}

/* Decides the fate of one frame that arrived now: lost, dropped at the full queue, or due at a time. */
static void accept_frame(struct direction *d, const struct config *c, const uint8_t *data, size_t length) {
  if (c->is_cut || (c->loss > 0 && drand48() < c->loss)) {
    d->losses++;
    return;
  }
  int64_t now = now_ns(), start = d->free_ns > now ? d->free_ns : now;
  double waiting = (double)(start - now) * c->bytes_per_ns;
  if ((start > now && waiting + (double)length > c->queue_bytes) || d->frames >= MAX_FRAMES) {
    d->queue_drops++;
    return;
  }
  struct frame *f = malloc(sizeof *f + length);
  if (f == NULL) die("malloc");
  d->free_ns = c->bytes_per_ns > 0 ? start + (int64_t)((double)length / c->bytes_per_ns) : now;
  f->due_ns = d->free_ns + c->delay_ns + (int64_t)(drand48() * (double)c->jitter_ns);
  if (f->due_ns < d->last_due_ns) f->due_ns = d->last_due_ns;
  d->last_due_ns = f->due_ns;
  f->next = NULL;
  f->length = length;
  memcpy(f->data, data, length);
  if (d->tail) d->tail->next = f;
  else d->head = f;
  d->tail = f;
  d->frames++;
  d->packets++;
  d->bytes += length;
}

static void read_frames(struct direction *d, const struct config *c) {
  static uint8_t buffer[MAX_FRAME_BYTES];
  for (int i = 0; i < READ_BATCH; i++) {
    ssize_t length = read(d->in, buffer, sizeof buffer);
    if (length <= 0) return;
    accept_frame(d, c, buffer, (size_t)length);
  }
}

/* Sends what is due; returns when the next frame is, or INT64_MAX. */
static int64_t deliver(struct direction *d, int64_t now) {
  while (d->head && d->head->due_ns <= now + SLACK_NS) {
    struct frame *f = d->head;
    if (write(d->out, f->data, f->length) < 0) d->queue_drops++; /* the far interface is down or its reader is gone */
    d->head = f->next;
    if (d->head == NULL) d->tail = NULL;
    d->frames--;
    free(f);
  }
  return d->head ? d->head->due_ns : INT64_MAX;
}

static void print_counters(const struct direction d[2]) {
  static const char *names[2] = {"aToB", "bToA"};
  for (int i = 0; i < 2; i++)
    printf("%s\"%s\":{\"packets\":%" PRIu64 ",\"bytes\":%" PRIu64 ",\"queueDrops\":%" PRIu64 ",\"losses\":%" PRIu64 "}", i ? "," : "{",
           names[i], d[i].packets, d[i].bytes, d[i].queue_drops, d[i].losses);
  printf("}\n");
  fflush(stdout);
}

static void watch(int epoll, int fd, uint32_t tag) {
  struct epoll_event event = {.events = EPOLLIN, .data.u32 = tag};
  if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) < 0) die("epoll_ctl");
}

/* A wire does not wait for the processor: on a busy machine an emulated one would, and be slower than it says. */
static void go_first(void) {
  struct sched_param param = {.sched_priority = 1};
  if (sched_setscheduler(0, SCHED_FIFO, &param) == 0 || setpriority(PRIO_PROCESS, 0, -20) == 0) return;
  fprintf(stderr, "wanemu: without priority, as it may not have any: on a busy machine links are slower than they say\n");
}

int main(int argc, char **argv) {
  if (argc != 11) {
    fprintf(stderr, "usage: wanemu NETNS_A IF_A NETNS_B IF_B RATE_BPS DELAY_US JITTER_US QUEUE_BYTES LOSS_PPM SEED\n");
    return 2;
  }
  int a = open_tap(argv[1], argv[2]), b = open_tap(argv[3], argv[4]);
  struct config config = {
      .bytes_per_ns = atof(argv[5]) / 8 / 1e9,
      .delay_ns = atoll(argv[6]) * 1000,
      .jitter_ns = atoll(argv[7]) * 1000,
      .queue_bytes = atof(argv[8]),
      .loss = atof(argv[9]) / 1e6,
  };
  srand48(atol(argv[10]));
  struct direction d[2] = {{.in = a, .out = b}, {.in = b, .out = a}};

  enum { TIMER = 2, SIGNALS = 3 };
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGUSR1);
  sigaddset(&signals, SIGUSR2);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  sigprocmask(SIG_BLOCK, &signals, NULL);
  int epoll = epoll_create1(EPOLL_CLOEXEC), timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
  int signal_fd = signalfd(-1, &signals, SFD_NONBLOCK);
  watch(epoll, a, 0);
  watch(epoll, b, 1);
  watch(epoll, timer, TIMER);
  watch(epoll, signal_fd, SIGNALS);
  go_first();
  printf("ready\n");
  fflush(stdout);

  for (;;) {
    struct epoll_event events[4];
    int count = epoll_wait(epoll, events, 4, -1);
    if (count < 0 && errno != EINTR) die("epoll_wait");
    for (int i = 0; i < count; i++) {
      uint32_t tag = events[i].data.u32;
      uint64_t expirations;
      struct signalfd_siginfo info;
      if (tag == TIMER) {
        if (read(timer, &expirations, sizeof expirations) < 0 && errno != EAGAIN) die("timerfd");
      } else if (tag == SIGNALS) {
        if (read(signal_fd, &info, sizeof info) != sizeof info) continue;
        if (info.ssi_signo == SIGUSR1) print_counters(d);
        else if (info.ssi_signo == SIGUSR2) config.is_cut = !config.is_cut;
        else return 0;
      } else {
        read_frames(&d[tag], &config);
      }
    }
    int64_t now = now_ns(), first = deliver(&d[0], now), second = deliver(&d[1], now);
    int64_t next = first < second ? first : second;
    if (next == INT64_MAX) continue;
    struct itimerspec at = {.it_value = {.tv_sec = next / 1000000000, .tv_nsec = next % 1000000000}};
    timerfd_settime(timer, TFD_TIMER_ABSTIME, &at, NULL);
  }
}
