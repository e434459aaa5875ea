#pragma once

#include <napi.h>

#include <cstddef>

namespace lodge {

/** What the addon keeps for each environment (each thread of JavaScript has its own). */
struct AddonData {
  Napi::FunctionReference vmConstructor;
  Napi::FunctionReference vcpuConstructor;
};

constexpr unsigned long NOT_TOLD = 0;

/** A structure of KVM that JavaScript reads and writes as bytes; it knows the layout (engine/cpu/kvm/kvm-abi.ts). */
struct Structure {
  const char *name;
  std::size_t size;
  /** NOT_TOLD: it can only be set. */
  unsigned long getRequest;
  const char *getCall;
  unsigned long setRequest;
  const char *setCall;
};

/** (name, bytes): fills the bytes. */
void getStructure(const Napi::CallbackInfo &info, const Structure *list, std::size_t count, int fd);
/** (name, bytes): sets from the bytes. */
void setStructure(const Napi::CallbackInfo &info, const Structure *list, std::size_t count, int fd);

}  // namespace lodge
