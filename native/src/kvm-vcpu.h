#pragma once

#include <napi.h>

#include <cstdint>
#include <memory>

#include "kvm-vm.h"
#include "lists.h"
#include "runner.h"

namespace lodge {

/** One virtual processor, run inline by whoever calls `run`, or by a thread of its own once `start` was called. */
class KvmVcpu : public Napi::ObjectWrap<KvmVcpu> {
 public:
  static Napi::Function define(Napi::Env env);
  static Napi::Value create(Napi::Env env, std::shared_ptr<VmShared> vm, std::uint32_t index, const Napi::Value &exits);
  explicit KvmVcpu(const Napi::CallbackInfo &info);
  ~KvmVcpu() override;

 private:
  static napi_value run(napi_env env, napi_callback_info info);
  void armTimer(const Napi::CallbackInfo &info);
  void start(const Napi::CallbackInfo &info);
  void resume(const Napi::CallbackInfo &info);
  Napi::Value takeExit(const Napi::CallbackInfo &info);
  void kick(const Napi::CallbackInfo &info);
  Napi::Value kickHandle(const Napi::CallbackInfo &info);
  Napi::Value threadId(const Napi::CallbackInfo &info);
  Napi::Value threadNanos(const Napi::CallbackInfo &info);
  Napi::Value complete(const Napi::CallbackInfo &info);
  void settle(const Napi::CallbackInfo &info);
  Napi::Value takeCoalesced(const Napi::CallbackInfo &info);
  void get(const Napi::CallbackInfo &info);
  void set(const Napi::CallbackInfo &info);
  Napi::Value getMsrs(const Napi::CallbackInfo &info);
  Napi::Value setMsrs(const Napi::CallbackInfo &info);
  void setCpuid(const Napi::CallbackInfo &info);
  void interrupt(const Napi::CallbackInfo &info);
  void nmi(const Napi::CallbackInfo &info);
  Napi::Value tscKilohertz(const Napi::CallbackInfo &info);
  Napi::Value tscOffset(const Napi::CallbackInfo &info);
  void setTscOffset(const Napi::CallbackInfo &info);
  void close(const Napi::CallbackInfo &info);

  void defineRun(napi_env env, napi_value object);
  VcpuCore &idle(Napi::Env env) const;
  CoalescedHead *ring() const;
  bool hasCoalesced() const;
  void prepare();
  std::uint32_t describe(Napi::Env env, std::uint32_t reason);
  void release();

  std::shared_ptr<VmShared> vm_;
  std::shared_ptr<VcpuCore> core_;
  std::unique_ptr<VcpuThread> thread_;
  ThreadTimer timer_;
  Napi::Reference<Napi::Value> exitsReference_;
  std::uint8_t *exits_ = nullptr;
  std::uint32_t index_ = 0;
  std::uint32_t kickHandle_ = 0;
  /** The exit that waits for its answer, or KVM_EXIT_UNKNOWN. */
  std::uint32_t answered_ = 0;
};

}  // namespace lodge
