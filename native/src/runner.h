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
  /** Makes the present or next `enter` come back at once. From any thread. */
  void kick();

  int fd() const { return fd_.get(); }
  kvm_run *run() const { return run_; }
  int error() const { return error_; }

 private:
  FileDescriptor fd_;
  kvm_run *run_;
  std::size_t mapped_;
  int error_ = 0;
  std::atomic<bool> kicked_{false};
  /** Guards `thread_`: a thread that is not inside `enter` is not signalled. */
  std::mutex mutex_;
  bool entered_ = false;
  pthread_t thread_{};
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

/** Where threads of processors leave word that they have an exit, and where the machine thread waits for it. */
class ExitQueue {
 public:
  ExitQueue();
  void post(std::uint32_t vcpu);
  void kick();
  /** The next processor with an exit; −1 after `nanos` or a kick. */
  int wait(std::uint64_t nanos);

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::uint32_t> waiting_;
  bool kicked_ = false;
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
