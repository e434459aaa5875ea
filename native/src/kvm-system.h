#pragma once

#include <napi.h>

#include <memory>

#include "file-descriptor.h"

namespace lodge {

/** /dev/kvm: what this KVM can do, and the door to virtual machines. */
class KvmSystem : public Napi::ObjectWrap<KvmSystem> {
 public:
  static Napi::Function define(Napi::Env env);
  explicit KvmSystem(const Napi::CallbackInfo &info);

 private:
  Napi::Value apiVersion(const Napi::CallbackInfo &info);
  Napi::Value checkExtension(const Napi::CallbackInfo &info);
  Napi::Value supportedCpuid(const Napi::CallbackInfo &info);
  Napi::Value msrIndices(const Napi::CallbackInfo &info);
  Napi::Value readFeatureMsr(const Napi::CallbackInfo &info);
  Napi::Value createVm(const Napi::CallbackInfo &info);
  void close(const Napi::CallbackInfo &info);

  int opened(Napi::Env env) const;

  FileDescriptor fd_;
};

}  // namespace lodge
