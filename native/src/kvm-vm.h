#pragma once

#include <napi.h>

#include <linux/kvm.h>

#include <cstdint>
#include <map>
#include <memory>
#include <vector>

#include "file-descriptor.h"
#include "runner.h"

namespace lodge {

/** The parts of a virtual machine that its processors need for as long as they live. */
struct VmShared {
  FileDescriptor fd;
  std::size_t runSize = 0;
  std::shared_ptr<ExitQueue> queue = std::make_shared<ExitQueue>();
  /** Where a processor's mapping has the machine's ring of coalesced writes, in bytes; 0: there is none. */
  std::size_t coalescedOffset = 0;
};

/** A place where guests write only to say that something is to be done. */
struct Doorbell {
  FileDescriptor event;
  kvm_ioeventfd registration;
};

/** One virtual machine: memory slots, interrupt chips, doorbells, and its processors. */
class KvmVm : public Napi::ObjectWrap<KvmVm> {
 public:
  static Napi::Function define(Napi::Env env);
  static Napi::Value create(Napi::Env env, FileDescriptor fd, std::size_t runSize);
  explicit KvmVm(const Napi::CallbackInfo &info);
  ~KvmVm() override;

 private:
  Napi::Value checkExtension(const Napi::CallbackInfo &info);
  void enableCapability(const Napi::CallbackInfo &info);
  void borrow(const Napi::CallbackInfo &info);
  void setMemory(const Napi::CallbackInfo &info);
  void adviseHugePages(const Napi::CallbackInfo &info);
  Napi::Value memoryAddress(const Napi::CallbackInfo &info);
  void takeDirty(const Napi::CallbackInfo &info);
  void setAddresses(const Napi::CallbackInfo &info);
  void createIrqchip(const Napi::CallbackInfo &info);
  void createPit(const Napi::CallbackInfo &info);
  void setIrqLine(const Napi::CallbackInfo &info);
  Napi::Value signalMsi(const Napi::CallbackInfo &info);
  void setGsiRouting(const Napi::CallbackInfo &info);
  void get(const Napi::CallbackInfo &info);
  void set(const Napi::CallbackInfo &info);
  void setCoalescing(const Napi::CallbackInfo &info);
  void setDoorbell(const Napi::CallbackInfo &info);
  Napi::Value takeDoorbells(const Napi::CallbackInfo &info);
  void setIrqfd(const Napi::CallbackInfo &info);
  void signalIrqfd(const Napi::CallbackInfo &info);
  void setMsrFilter(const Napi::CallbackInfo &info);
  Napi::Value createVcpu(const Napi::CallbackInfo &info);
  Napi::Value wait(const Napi::CallbackInfo &info);
  Napi::Value kickHandle(const Napi::CallbackInfo &info);
  void close(const Napi::CallbackInfo &info);

  VmShared &opened(Napi::Env env) const;
  void release();

  std::shared_ptr<VmShared> shared_;
  /** Keeps the memory's bytes where they are. */
  Napi::Reference<Napi::Value> memoryReference_;
  std::uint8_t *memory_ = nullptr;
  std::size_t memoryLength_ = 0;
  std::vector<std::uint32_t> slots_;
  /** Doorbells by token, with what KVM was told of them. */
  std::map<std::uint32_t, Doorbell> doorbells_;
  /** Interrupts by GSI. */
  std::map<std::uint32_t, FileDescriptor> irqfds_;
  std::uint32_t kickHandle_ = 0;
};

}  // namespace lodge
