#pragma once

#include <linux/kvm.h>
#include <pthread.h>

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "file-descriptor.h"

namespace lodge {

/** Own exit reasons beside KVM_EXIT_*, which count up from 0. */
constexpr std::uint32_t EXIT_INTERRUPTED = 1000;
constexpr std::uint32_t EXIT_ERROR = 1001;

/** Installs the handler of the kick signal, once per process. */
void installKickHandler();

/** One processor's file and its mapped kvm_run; runs it in whatever thread calls. */
class VcpuCore {
 public:
  VcpuCore(FileDescriptor fd, kvm_run *run, std::size_t mapped);
  VcpuCore(const VcpuCore &) = delete;
  VcpuCore &operator=(const VcpuCore &) = delete;
  ~VcpuCore();

  /** KVM_RUN; KVM_EXIT_* or EXIT_*. For EXIT_ERROR, `error` is the errno. */
  std::uint32_t enter();
  /** KVM_RUN that only carries the instruction of the last exit to its end. */
  std::uint32_t finish();
  /**
   * KVM_RUN with a signal pending: KVM looks at timers and the like, and comes back before it enters the guest. False,
   * with `error`, when it cannot be run.
   */
  bool settle();
  /** Makes the present or next `enter` come back at once. From any thread. */
  void kick();
  /** Before a thread that has run it ends: nobody is about to signal it afterwards. */
  void leaveThread();

  int fd() const { return fd_.get(); }
  kvm_run *run() const { return run_; }
  int error() const { return error_; }

 private:
  FileDescriptor fd_;
  kvm_run *run_;
  std::size_t mapped_;
  int error_ = 0;
  std::atomic<bool> kicked_{false};
  /** Held by whoever signals `thread_`, which does not end meanwhile (leaveThread, and the registry for all others). */
  std::mutex mutex_;
  std::atomic<bool> entered_{false};
  std::atomic<pthread_t> thread_{};
};

/** A deadline for the calling thread's `enter`: a POSIX timer that sends it the kick signal. */
class ThreadTimer {
 public:
  ThreadTimer() = default;
  ThreadTimer(const ThreadTimer &) = delete;
  ThreadTimer &operator=(const ThreadTimer &) = delete;
  ~ThreadTimer();

  /** Fires once after `nanos` (0: never). False, with errno, when the host has no timer left. */
  bool arm(std::uint64_t nanos);

 private:
  bool made_ = false;
  void *timer_ = nullptr;
};

/**
 * Where threads of processors leave word that they have an exit, where doorbells ring, and where the machine thread waits
 * for both.
 */
class ExitQueue {
 public:
  /** What `wait` returns besides numbers of processors. */
  static constexpr int NOTHING = -1;
  static constexpr int DOORBELLS = -2;

  ExitQueue();
  /** False, with errno, when the host had no files left for it. */
  bool isOpen() const { return wake_.isOpen() && doorbells_.isOpen(); }
  void post(std::uint32_t vcpu);
  void kick();
  /** The next processor with an exit; NOTHING after `nanos` or a kick; DOORBELLS when some have rung. */
  int wait(std::uint64_t nanos);
  /** Has `wait` look at a doorbell's eventfd, which is told of as `token`; false, with errno, when it cannot. */
  bool addDoorbell(int fd, std::uint32_t token);
  void removeDoorbell(int fd);
  /** Tokens of doorbells that have rung since the last call, at most `room` of them; how many. Never waits. */
  std::size_t takeDoorbells(std::uint32_t *into, std::size_t room);

 private:
  bool anyDoorbell();

  std::mutex mutex_;
  std::vector<std::uint32_t> waiting_;
  bool kicked_ = false;
  /** The machine thread sleeps, or is about to: whoever posts writes to `wake_`. */
  bool sleeping_ = false;
  FileDescriptor wake_;
  /** An epoll of the doorbells. */
  FileDescriptor doorbells_;
  std::size_t doorbellCount_ = 0;
  std::uint32_t calls_ = 0;
};

/** A thread that runs one processor whenever it is told to. */
class VcpuThread {
 public:
  VcpuThread(std::shared_ptr<VcpuCore> core, std::shared_ptr<ExitQueue> queue, std::uint32_t index);
  VcpuThread(const VcpuThread &) = delete;
  VcpuThread &operator=(const VcpuThread &) = delete;
  ~VcpuThread();

  void resume();
  /** True between `resume` and the moment at which its exit was posted. */
  bool running() const { return running_.load(std::memory_order_acquire); }
  std::uint32_t reason() const { return reason_; }
  /** The kernel's number of it; 0 before it has begun. */
  int id() const { return id_.load(std::memory_order_relaxed); }
  /** Processor time that it has had. */
  double spentNanos();

 private:
  void loop();

  std::shared_ptr<VcpuCore> core_;
  std::shared_ptr<ExitQueue> queue_;
  std::uint32_t index_;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool wanted_ = false;
  bool ending_ = false;
  std::atomic<bool> running_{false};
  std::atomic<int> id_{0};
  std::uint32_t reason_ = 0;
  std::thread thread_;
};

/** Kicks from other threads of this process, by number: the threads share no objects of JavaScript. */
class KickRegistry {
 public:
  static KickRegistry &instance();
  std::uint32_t add(std::shared_ptr<VcpuCore> core, std::shared_ptr<ExitQueue> queue);
  void remove(std::uint32_t handle);
  /** False when nothing has this number any more. */
  bool kick(std::uint32_t handle);

 private:
  struct Entry {
    std::uint32_t handle;
    std::shared_ptr<VcpuCore> core;
    std::shared_ptr<ExitQueue> queue;
  };
  std::mutex mutex_;
  std::vector<Entry> entries_;
  std::uint32_t next_ = 1;
};

}  // namespace lodge
