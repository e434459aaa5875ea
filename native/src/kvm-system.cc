#include "kvm-system.h"

#include <fcntl.h>
#include <linux/kvm.h>
#include <sys/ioctl.h>

#include <cerrno>
#include <cstring>
#include <string>

#include "bytes.h"
#include "kvm-vm.h"
#include "lists.h"

namespace lodge {
namespace {

constexpr std::uint32_t MAX_CPUID_ENTRIES = 256;
constexpr std::uint32_t MAX_MSRS = 4096;

}  // namespace

Napi::Function KvmSystem::define(Napi::Env env) {
  return DefineClass(env, "KvmSystem",
                     {
                         InstanceMethod<&KvmSystem::apiVersion>("apiVersion"),
                         InstanceMethod<&KvmSystem::checkExtension>("checkExtension"),
                         InstanceMethod<&KvmSystem::supportedCpuid>("supportedCpuid"),
                         InstanceMethod<&KvmSystem::msrIndices>("msrIndices"),
                         InstanceMethod<&KvmSystem::readFeatureMsr>("readFeatureMsr"),
                         InstanceMethod<&KvmSystem::createVm>("createVm"),
                         InstanceMethod<&KvmSystem::close>("close"),
                     });
}

KvmSystem::KvmSystem(const Napi::CallbackInfo &info) : Napi::ObjectWrap<KvmSystem>(info) {
  const std::string path = info[0].IsString() ? info[0].As<Napi::String>().Utf8Value() : "/dev/kvm";
  fd_.reset(::open(path.c_str(), O_RDWR | O_CLOEXEC));
  if (!fd_.isOpen()) {
    throwSystemError(info.Env(), path == "/dev/kvm" ? "open /dev/kvm" : "open", errno);
  }
}

int KvmSystem::opened(Napi::Env env) const {
  if (!fd_.isOpen()) {
    throwTypeError(env, "KVM was closed");
  }
  return fd_.get();
}

Napi::Value KvmSystem::apiVersion(const Napi::CallbackInfo &info) {
  const int version = ioctl(opened(info.Env()), KVM_GET_API_VERSION, 0);
  if (version < 0) {
    throwSystemError(info.Env(), "KVM_GET_API_VERSION", errno);
  }
  return Napi::Number::New(info.Env(), version);
}

Napi::Value KvmSystem::checkExtension(const Napi::CallbackInfo &info) {
  const int answer = ioctl(opened(info.Env()), KVM_CHECK_EXTENSION, uint32Of(info.Env(), info[0]));
  if (answer < 0) {
    throwSystemError(info.Env(), "KVM_CHECK_EXTENSION", errno);
  }
  return Napi::Number::New(info.Env(), answer);
}

/** Fills a Uint32Array with kvm_cpuid_entry2 structures (10 words each); returns how many. */
Napi::Value KvmSystem::supportedCpuid(const Napi::CallbackInfo &info) {
  const Bytes into = bytesOf(info.Env(), info[0]);
  CpuidList list(MAX_CPUID_ENTRIES);
  if (ioctl(opened(info.Env()), REQUEST_SUPPORTED_CPUID, list.data()) < 0) {
    throwSystemError(info.Env(), "KVM_GET_SUPPORTED_CPUID", errno);
  }
  const std::size_t length = list.head().count * sizeof(kvm_cpuid_entry2);
  if (into.length < length) {
    throwTypeError(info.Env(), "the array is too short for the CPUID leaves");
  }
  std::memcpy(into.data, list.entries(), length);
  return Napi::Number::New(info.Env(), list.head().count);
}

/** Fills a Uint32Array with the model-specific registers that KVM saves; returns how many. */
Napi::Value KvmSystem::msrIndices(const Napi::CallbackInfo &info) {
  const Bytes into = bytesOf(info.Env(), info[0]);
  MsrIndexList list(MAX_MSRS);
  if (ioctl(opened(info.Env()), REQUEST_MSR_INDEX_LIST, list.data()) < 0) {
    throwSystemError(info.Env(), "KVM_GET_MSR_INDEX_LIST", errno);
  }
  const std::size_t length = list.head().count * sizeof(std::uint32_t);
  if (into.length < length) {
    throwTypeError(info.Env(), "the array is too short for the registers");
  }
  std::memcpy(into.data, list.entries(), length);
  return Napi::Number::New(info.Env(), list.head().count);
}

/** The value that KVM offers guests for a register of features, or undefined. */
Napi::Value KvmSystem::readFeatureMsr(const Napi::CallbackInfo &info) {
  MsrList list(1);
  list.entries()[0].index = uint32Of(info.Env(), info[0]);
  if (ioctl(opened(info.Env()), REQUEST_GET_MSRS, list.data()) != 1) {
    return info.Env().Undefined();
  }
  return Napi::BigInt::New(info.Env(), static_cast<std::uint64_t>(list.entries()[0].data));
}

Napi::Value KvmSystem::createVm(const Napi::CallbackInfo &info) {
  const int system = opened(info.Env());
  int fd;
  do {
    fd = ioctl(system, KVM_CREATE_VM, 0);
  } while (fd < 0 && errno == EINTR);
  if (fd < 0) {
    throwSystemError(info.Env(), "KVM_CREATE_VM", errno);
  }
  FileDescriptor vm(fd);
  const int size = ioctl(system, KVM_GET_VCPU_MMAP_SIZE, 0);
  if (size < 0) {
    throwSystemError(info.Env(), "KVM_GET_VCPU_MMAP_SIZE", errno);
  }
  return KvmVm::create(info.Env(), std::move(vm), static_cast<std::size_t>(size));
}

void KvmSystem::close(const Napi::CallbackInfo &) { fd_.reset(); }

}  // namespace lodge
