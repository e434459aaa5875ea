#include "runner.h"

#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstring>
#include <ctime>

#include "lists.h"

namespace lodge {
namespace {

/** Node, V8 and the C library leave the upper real-time signals alone. */
int kickSignal() { return SIGRTMIN + 9; }

/** The kvm_run that this thread is about to enter or has entered. */
thread_local kvm_run *volatile threadRun = nullptr;
/** A signal came while this thread ran something else: the next run ends at once. */
thread_local volatile bool threadSignalled = false;

/** A signal that arrives just before KVM_RUN has to be noticed by it: that is what immediate_exit is for. */
void onKick(int) {
  kvm_run *run = threadRun;
  threadSignalled = true;
  if (run != nullptr) {
    run->immediate_exit = 1;
  }
}

}  // namespace

void installKickHandler() {
  static std::once_flag once;
  std::call_once(once, [] {
    struct sigaction action = {};
    action.sa_handler = onKick;
    sigemptyset(&action.sa_mask);
    // Without SA_RESTART: KVM_RUN is to return.
    sigaction(kickSignal(), &action, nullptr);
  });
}

VcpuCore::VcpuCore(FileDescriptor fd, kvm_run *run, std::size_t mapped)
    : fd_(std::move(fd)), run_(run), mapped_(mapped) {}

VcpuCore::~VcpuCore() { munmap(run_, mapped_); }

std::uint32_t VcpuCore::enter() {
  run_->immediate_exit = 0;
  threadRun = run_;
  thread_.store(pthread_self(), std::memory_order_relaxed);
  // Before `kicked_` is looked at: a kick sets that first and then looks whether anybody is to be signalled.
  entered_.store(true);
  std::uint32_t reason = EXIT_INTERRUPTED;
  if (kicked_.exchange(false) || threadSignalled) {
    // KVM takes the answer to the last exit in all the same.
    run_->immediate_exit = 1;
  }
  int result;
  do {
    result = ioctl(fd_.get(), KVM_RUN, 0);
  } while (result < 0 && errno == EAGAIN);
  if (result == 0) {
    reason = run_->exit_reason;
  } else if (errno != EINTR) {
    error_ = errno;
    reason = EXIT_ERROR;
  }
  entered_.store(false);
  threadRun = nullptr;
  if (reason == EXIT_INTERRUPTED) {
    kicked_.store(false);
    threadSignalled = false;
  }
  return reason;
}

std::uint32_t VcpuCore::finish() {
  run_->immediate_exit = 1;
  const int result = ioctl(fd_.get(), KVM_RUN, 0);
  run_->immediate_exit = 0;
  if (result == 0) {
    return run_->exit_reason;
  }
  if (errno == EINTR || errno == EAGAIN) {
    return EXIT_INTERRUPTED;
  }
  error_ = errno;
  return EXIT_ERROR;
}

bool VcpuCore::settle() {
  // With immediate_exit KVM would come back before it looks at anything. So a kick is made to wait for this thread, and
  // KVM lets it through.
  sigset_t kick;
  sigemptyset(&kick);
  sigaddset(&kick, kickSignal());
  sigset_t before;
  pthread_sigmask(SIG_BLOCK, &kick, &before);
  // struct kvm_signal_mask: the length of the kernel's set of signals, and the set.
  std::uint64_t signals = 0;
  std::memcpy(&signals, &before, sizeof(signals));
  signals &= ~(std::uint64_t{1} << (kickSignal() - 1));
  const SignalMaskHead head = {sizeof(signals)};
  std::uint8_t mask[sizeof(head) + sizeof(signals)];
  std::memcpy(mask, &head, sizeof(head));
  std::memcpy(mask + sizeof(head), &signals, sizeof(signals));
  bool done = ioctl(fd_.get(), REQUEST_SET_SIGNAL_MASK, mask) == 0;
  if (done) {
    pthread_kill(pthread_self(), kickSignal());
    run_->immediate_exit = 0;
    done = ioctl(fd_.get(), KVM_RUN, 0) == 0 || errno == EINTR || errno == EAGAIN;
  }
  if (!done) {
    error_ = errno;
  }
  ioctl(fd_.get(), REQUEST_SET_SIGNAL_MASK, nullptr);
  const timespec now = {};
  sigtimedwait(&kick, nullptr, &now);
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  return done;
}

void VcpuCore::kick() {
  std::lock_guard<std::mutex> lock(mutex_);
  kicked_.store(true);
  run_->immediate_exit = 1;
  if (entered_.load()) {
    pthread_kill(thread_.load(std::memory_order_relaxed), kickSignal());
  }
}

void VcpuCore::leaveThread() { std::lock_guard<std::mutex> lock(mutex_); }

ThreadTimer::~ThreadTimer() {
  if (made_) {
    timer_delete(static_cast<timer_t>(timer_));
  }
}

bool ThreadTimer::arm(std::uint64_t nanos) {
  if (!made_) {
    struct sigevent event = {};
    event.sigev_notify = SIGEV_THREAD_ID;
    event.sigev_signo = kickSignal();
    event._sigev_un._tid = static_cast<pid_t>(syscall(SYS_gettid));
    timer_t timer;
    if (timer_create(CLOCK_MONOTONIC, &event, &timer) != 0) {
      return false;
    }
    timer_ = timer;
    made_ = true;
  }
  struct itimerspec when = {};
  when.it_value.tv_sec = static_cast<time_t>(nanos / 1000000000u);
  when.it_value.tv_nsec = static_cast<long>(nanos % 1000000000u);
  return timer_settime(static_cast<timer_t>(timer_), 0, &when, nullptr) == 0;
}

ExitQueue::ExitQueue() : wake_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)), doorbells_(epoll_create1(EPOLL_CLOEXEC)) {}

void ExitQueue::post(std::uint32_t vcpu) {
  std::lock_guard<std::mutex> lock(mutex_);
  waiting_.push_back(vcpu);
  if (sleeping_) {
    sleeping_ = false;
    eventfd_write(wake_.get(), 1);
  }
}

void ExitQueue::kick() {
  std::lock_guard<std::mutex> lock(mutex_);
  kicked_ = true;
  if (sleeping_) {
    sleeping_ = false;
    eventfd_write(wake_.get(), 1);
  }
}

bool ExitQueue::anyDoorbell() {
  if (doorbellCount_ == 0) {
    return false;
  }
  epoll_event event;
  return epoll_wait(doorbells_.get(), &event, 1, 0) > 0;
}

int ExitQueue::wait(std::uint64_t nanos) {
  // So many exits may come between two looks at the doorbells.
  constexpr std::uint32_t PATIENCE = 8;
  const auto until = std::chrono::steady_clock::now() + std::chrono::nanoseconds(nanos);
  if (++calls_ % PATIENCE == 0 && anyDoorbell()) {
    return DOORBELLS;
  }
  for (;;) {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      sleeping_ = false;
      if (!waiting_.empty()) {
        const std::uint32_t first = waiting_.front();
        waiting_.erase(waiting_.begin());
        return static_cast<int>(first);
      }
      if (kicked_) {
        kicked_ = false;
        return NOTHING;
      }
      sleeping_ = true;
    }
    const auto left =
        std::chrono::duration_cast<std::chrono::nanoseconds>(until - std::chrono::steady_clock::now()).count();
    const std::int64_t rest = std::max<std::int64_t>(0, left);
    const timespec timeout = {static_cast<time_t>(rest / 1000000000), static_cast<long>(rest % 1000000000)};
    pollfd files[] = {{wake_.get(), POLLIN, 0}, {doorbells_.get(), POLLIN, 0}};
    const int ready = ppoll(files, doorbellCount_ == 0 ? 1 : 2, &timeout, nullptr);
    std::lock_guard<std::mutex> lock(mutex_);
    sleeping_ = false;
    eventfd_t count;
    eventfd_read(wake_.get(), &count);
    if (!waiting_.empty() || kicked_) {
      continue;
    }
    if (ready > 0 && files[1].revents != 0) {
      return DOORBELLS;
    }
    if (rest == 0 || ready == 0) {
      return NOTHING;
    }
  }
}

bool ExitQueue::addDoorbell(int fd, std::uint32_t token) {
  epoll_event event = {};
  event.events = EPOLLIN;
  // Both travel with the event: the file, to silence it, and what it is called.
  event.data.u64 = (std::uint64_t{token} << 32) | static_cast<std::uint32_t>(fd);
  if (epoll_ctl(doorbells_.get(), EPOLL_CTL_ADD, fd, &event) != 0) {
    return false;
  }
  doorbellCount_++;
  return true;
}

void ExitQueue::removeDoorbell(int fd) {
  epoll_event event = {};
  if (epoll_ctl(doorbells_.get(), EPOLL_CTL_DEL, fd, &event) == 0) {
    doorbellCount_--;
  }
}

std::size_t ExitQueue::takeDoorbells(std::uint32_t *into, std::size_t room) {
  std::size_t count = 0;
  epoll_event events[32];
  const int ready = epoll_wait(doorbells_.get(), events, static_cast<int>(std::min<std::size_t>(room, 32)), 0);
  for (int i = 0; i < ready; i++) {
    eventfd_t rung;
    if (eventfd_read(static_cast<int>(events[i].data.u64 & 0xffffffff), &rung) == 0) {
      into[count++] = static_cast<std::uint32_t>(events[i].data.u64 >> 32);
    }
  }
  return count;
}

VcpuThread::VcpuThread(std::shared_ptr<VcpuCore> core, std::shared_ptr<ExitQueue> queue, std::uint32_t index)
    : core_(std::move(core)), queue_(std::move(queue)), index_(index) {
  thread_ = std::thread([this] { loop(); });
}

VcpuThread::~VcpuThread() {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    ending_ = true;
  }
  changed_.notify_one();
  core_->kick();
  thread_.join();
}

void VcpuThread::resume() {
  running_.store(true, std::memory_order_release);
  {
    std::lock_guard<std::mutex> lock(mutex_);
    wanted_ = true;
  }
  changed_.notify_one();
}

double VcpuThread::spentNanos() {
  clockid_t clock;
  timespec spent;
  if (pthread_getcpuclockid(thread_.native_handle(), &clock) != 0 || clock_gettime(clock, &spent) != 0) {
    return 0;
  }
  return static_cast<double>(spent.tv_sec) * 1e9 + static_cast<double>(spent.tv_nsec);
}

void VcpuThread::loop() {
  id_.store(static_cast<int>(syscall(SYS_gettid)), std::memory_order_relaxed);
  // Signals for the process belong to its main thread; this one takes kicks only.
  sigset_t all;
  sigfillset(&all);
  sigdelset(&all, kickSignal());
  pthread_sigmask(SIG_SETMASK, &all, nullptr);
  for (;;) {
    {
      std::unique_lock<std::mutex> lock(mutex_);
      changed_.wait(lock, [this] { return wanted_ || ending_; });
      if (ending_) {
        core_->leaveThread();
        return;
      }
      wanted_ = false;
    }
    reason_ = core_->enter();
    running_.store(false, std::memory_order_release);
    queue_->post(index_);
  }
}

KickRegistry &KickRegistry::instance() {
  static KickRegistry registry;
  return registry;
}

std::uint32_t KickRegistry::add(std::shared_ptr<VcpuCore> core, std::shared_ptr<ExitQueue> queue) {
  std::lock_guard<std::mutex> lock(mutex_);
  const std::uint32_t handle = next_++;
  entries_.push_back({handle, std::move(core), std::move(queue)});
  return handle;
}

void KickRegistry::remove(std::uint32_t handle) {
  std::lock_guard<std::mutex> lock(mutex_);
  entries_.erase(
      std::remove_if(entries_.begin(), entries_.end(), [handle](const Entry &entry) { return entry.handle == handle; }),
      entries_.end());
}

bool KickRegistry::kick(std::uint32_t handle) {
  std::lock_guard<std::mutex> lock(mutex_);
  for (const Entry &entry : entries_) {
    if (entry.handle == handle) {
      if (entry.core != nullptr) {
        entry.core->kick();
      }
      if (entry.queue != nullptr) {
        entry.queue->kick();
      }
      return true;
    }
  }
  return false;
}

}  // namespace lodge
