#include <napi.h>

#include <sys/mman.h>
#include <unistd.h>
#include <x86intrin.h>

#include <cerrno>

#include "bytes.h"
#include "file-blocks.h"
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

/** (bytes): gives whole pages of memory of the process's own back to the system; they read as zeros afterwards. */
void releasePages(const Napi::CallbackInfo &info) {
  const Bytes bytes = bytesOf(info.Env(), info[0]);
  const auto page = static_cast<std::uintptr_t>(sysconf(_SC_PAGESIZE));
  if (reinterpret_cast<std::uintptr_t>(bytes.data) % page != 0 || bytes.length % page != 0) {
    throwTypeError(info.Env(), "whole pages are wanted");
  }
  if (bytes.length != 0 && madvise(bytes.data, bytes.length, MADV_DONTNEED) != 0) {
    throwSystemError(info.Env(), "madvise", errno);
  }
}

Napi::Object init(Napi::Env env, Napi::Object exports) {
  auto *data = new AddonData;
  env.SetInstanceData(data);
  data->vmConstructor = Napi::Persistent(KvmVm::define(env));
  data->vcpuConstructor = Napi::Persistent(KvmVcpu::define(env));
  exports.Set("KvmSystem", KvmSystem::define(env));
  exports.Set("kick", Napi::Function::New(env, kick, "kick"));
  exports.Set("releasePages", Napi::Function::New(env, releasePages, "releasePages"));
  defineFileBlocks(env, exports);
  exports.Set("readTsc", Napi::Function::New(env, readTsc, "readTsc"));
  return exports;
}

}  // namespace
}  // namespace lodge

static Napi::Object initAddon(Napi::Env env, Napi::Object exports) { return lodge::init(env, exports); }

NODE_API_MODULE(lodge_kvm, initAddon)
