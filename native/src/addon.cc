#include <napi.h>

#include <x86intrin.h>

#include "bytes.h"
#include "kvm-system.h"
#include "kvm-vcpu.h"
#include "kvm-vm.h"
#include "runner.h"
#include "structures.h"

namespace lodge {
namespace {

/** (number of a kick handle): false when its machine is gone. From any thread. */
Napi::Value kick(const Napi::CallbackInfo &info) {
  return Napi::Boolean::New(info.Env(), KickRegistry::instance().kick(uint32Of(info.Env(), info[0])));
}

/** The host's time-stamp counter, which guests of KVM see with an offset. */
Napi::Value readTsc(const Napi::CallbackInfo &info) {
  return Napi::BigInt::New(info.Env(), static_cast<std::uint64_t>(__rdtsc()));
}

Napi::Object init(Napi::Env env, Napi::Object exports) {
  auto *data = new AddonData;
  env.SetInstanceData(data);
  data->vmConstructor = Napi::Persistent(KvmVm::define(env));
  data->vcpuConstructor = Napi::Persistent(KvmVcpu::define(env));
  exports.Set("KvmSystem", KvmSystem::define(env));
  exports.Set("kick", Napi::Function::New(env, kick, "kick"));
  exports.Set("readTsc", Napi::Function::New(env, readTsc, "readTsc"));
  return exports;
}

}  // namespace
}  // namespace lodge

static Napi::Object initAddon(Napi::Env env, Napi::Object exports) { return lodge::init(env, exports); }

NODE_API_MODULE(lodge_kvm, initAddon)
