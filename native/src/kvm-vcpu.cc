#include "kvm-vcpu.h"

#include <linux/kvm.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "bytes.h"
#include "lists.h"
#include "structures.h"

namespace lodge {
namespace {

/** The array for exits: words, then data. Its layout is known to native/index.ts too. */
constexpr std::size_t HEADER_BYTES = 128;
constexpr std::size_t DATA_BYTES = 4096;
enum Word : std::size_t {
  A = 1,
  B = 2,
  C = 3,
  D = 4,
  ERROR = 7,
  READY_FOR_INTERRUPT = 16,
  INTERRUPT_FLAG = 17,
  CR8 = 18,
  RUN_FLAGS = 19,
  COALESCED = 20,
  WANT_WINDOW = 24,
  CR8_IN = 25,
};

struct Handover {
  std::shared_ptr<VmShared> vm;
  std::shared_ptr<VcpuCore> core;
  std::uint32_t index;
  Napi::Value exits;
};

constexpr Structure STRUCTURES[] = {
    {"regs", sizeof(kvm_regs), KVM_GET_REGS, "KVM_GET_REGS", KVM_SET_REGS, "KVM_SET_REGS"},
    {"sregs", sizeof(kvm_sregs), KVM_GET_SREGS, "KVM_GET_SREGS", KVM_SET_SREGS, "KVM_SET_SREGS"},
    {"xsave", sizeof(XsaveArea), REQUEST_GET_XSAVE, "KVM_GET_XSAVE", REQUEST_SET_XSAVE, "KVM_SET_XSAVE"},
    {"events", sizeof(kvm_vcpu_events), KVM_GET_VCPU_EVENTS, "KVM_GET_VCPU_EVENTS", KVM_SET_VCPU_EVENTS,
     "KVM_SET_VCPU_EVENTS"},
    {"debugregs", sizeof(kvm_debugregs), KVM_GET_DEBUGREGS, "KVM_GET_DEBUGREGS", KVM_SET_DEBUGREGS,
     "KVM_SET_DEBUGREGS"},
    {"xcrs", sizeof(kvm_xcrs), KVM_GET_XCRS, "KVM_GET_XCRS", KVM_SET_XCRS, "KVM_SET_XCRS"},
    {"mp-state", sizeof(kvm_mp_state), KVM_GET_MP_STATE, "KVM_GET_MP_STATE", KVM_SET_MP_STATE, "KVM_SET_MP_STATE"},
    {"lapic", sizeof(kvm_lapic_state), KVM_GET_LAPIC, "KVM_GET_LAPIC", KVM_SET_LAPIC, "KVM_SET_LAPIC"},
    {"guest-debug", sizeof(kvm_guest_debug), NOT_TOLD, "", KVM_SET_GUEST_DEBUG, "KVM_SET_GUEST_DEBUG"},
};

}  // namespace

Napi::Function KvmVcpu::define(Napi::Env env) {
  return DefineClass(env, "KvmVcpu",
                     {
                         InstanceMethod<&KvmVcpu::armTimer>("armTimer"),
                         InstanceMethod<&KvmVcpu::start>("start"),
                         InstanceMethod<&KvmVcpu::resume>("resume"),
                         InstanceMethod<&KvmVcpu::takeExit>("takeExit"),
                         InstanceMethod<&KvmVcpu::kick>("kick"),
                         InstanceMethod<&KvmVcpu::kickHandle>("kickHandle"),
                         InstanceMethod<&KvmVcpu::threadId>("threadId"),
                         InstanceMethod<&KvmVcpu::threadNanos>("threadNanos"),
                         InstanceMethod<&KvmVcpu::complete>("complete"),
                         InstanceMethod<&KvmVcpu::settle>("settle"),
                         InstanceMethod<&KvmVcpu::takeCoalesced>("takeCoalesced"),
                         InstanceMethod<&KvmVcpu::get>("get"),
                         InstanceMethod<&KvmVcpu::set>("set"),
                         InstanceMethod<&KvmVcpu::getMsrs>("getMsrs"),
                         InstanceMethod<&KvmVcpu::setMsrs>("setMsrs"),
                         InstanceMethod<&KvmVcpu::setCpuid>("setCpuid"),
                         InstanceMethod<&KvmVcpu::interrupt>("interrupt"),
                         InstanceMethod<&KvmVcpu::nmi>("nmi"),
                         InstanceMethod<&KvmVcpu::tscKilohertz>("tscKilohertz"),
                         InstanceMethod<&KvmVcpu::tscOffset>("tscOffset"),
                         InstanceMethod<&KvmVcpu::setTscOffset>("setTscOffset"),
                         InstanceMethod<&KvmVcpu::close>("close"),
                     });
}

Napi::Value KvmVcpu::create(Napi::Env env, std::shared_ptr<VmShared> vm, std::uint32_t index,
                            const Napi::Value &exits) {
  exactly(env, exits, HEADER_BYTES + DATA_BYTES);
  installKickHandler();
  FileDescriptor fd(ioctl(vm->fd.get(), KVM_CREATE_VCPU, index));
  if (!fd.isOpen()) {
    throwSystemError(env, "KVM_CREATE_VCPU", errno);
  }
  void *run = mmap(nullptr, vm->runSize, PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 0);
  if (run == MAP_FAILED) {
    throwSystemError(env, "mmap", errno);
  }
  const std::size_t runSize = vm->runSize;
  Handover handover{std::move(vm), std::make_shared<VcpuCore>(std::move(fd), static_cast<kvm_run *>(run), runSize),
                    index, exits};
  return env.GetInstanceData<AddonData>()->vcpuConstructor.New({Napi::External<Handover>::New(env, &handover)});
}

KvmVcpu::KvmVcpu(const Napi::CallbackInfo &info) : Napi::ObjectWrap<KvmVcpu>(info) {
  if (!info[0].IsExternal()) {
    throwTypeError(info.Env(), "processors are made by createVcpu");
  }
  auto *handover = info[0].As<Napi::External<Handover>>().Data();
  vm_ = std::move(handover->vm);
  core_ = std::move(handover->core);
  index_ = handover->index;
  exits_ = exactly(info.Env(), handover->exits, HEADER_BYTES + DATA_BYTES);
  if (reinterpret_cast<std::uintptr_t>(exits_) % alignof(std::uint64_t) != 0) {
    throwTypeError(info.Env(), "the array of exits is not aligned");
  }
  exitsReference_ = Napi::Reference<Napi::Value>::New(handover->exits, 1);
  kickHandle_ = KickRegistry::instance().add(core_, nullptr);
  defineRun(info.Env(), info.This());
}

/**
 * Makes `run` a function of this object alone, which knows it: looking up what belongs to `this` costs a tenth of what an
 * exit costs beside the kernel. The function holds on to the object, whoever keeps it.
 */
void KvmVcpu::defineRun(napi_env env, napi_value object) {
  const auto check = [env](napi_status status) { NAPI_THROW_IF_FAILED_VOID(env, status); };
  napi_value run;
  check(napi_create_function(env, "run", NAPI_AUTO_LENGTH, &KvmVcpu::run, this, &run));
  napi_property_descriptor owner = {};
  owner.utf8name = "processor";
  owner.value = object;
  check(napi_define_properties(env, run, 1, &owner));
  napi_property_descriptor method = {};
  method.utf8name = "run";
  method.value = run;
  check(napi_define_properties(env, object, 1, &method));
}

KvmVcpu::~KvmVcpu() { release(); }

void KvmVcpu::release() {
  if (core_ == nullptr) {
    return;
  }
  KickRegistry::instance().remove(kickHandle_);
  thread_.reset();
  core_.reset();
  vm_.reset();
  exits_ = nullptr;
  exitsReference_.Reset();
}

/** The processor, while nobody runs it: its kvm_run is ours. */
VcpuCore &KvmVcpu::idle(Napi::Env env) const {
  if (core_ == nullptr) {
    throwTypeError(env, "the processor was closed");
  }
  if (thread_ != nullptr && thread_->running()) {
    throwTypeError(env, "the processor is running");
  }
  return *core_;
}

/** Hands KVM what was asked for and the answer to the last exit. */
void KvmVcpu::prepare() {
  kvm_run *run = core_->run();
  const auto *words = reinterpret_cast<const std::uint32_t *>(exits_);
  run->request_interrupt_window = words[WANT_WINDOW] != 0 ? 1 : 0;
  run->cr8 = words[CR8_IN];
  const std::uint8_t *data = exits_ + HEADER_BYTES;
  switch (answered_) {
    case KVM_EXIT_IO:
      if (run->io.direction == KVM_EXIT_IO_IN) {
        const std::size_t length = std::min<std::size_t>(std::size_t{run->io.size} * run->io.count, DATA_BYTES);
        std::memcpy(reinterpret_cast<std::uint8_t *>(run) + run->io.data_offset, data, length);
      }
      break;
    case KVM_EXIT_MMIO:
      if (run->mmio.is_write == 0) {
        std::memcpy(run->mmio.data, data, sizeof(run->mmio.data));
      }
      break;
    case KVM_EXIT_X86_RDMSR:
      std::memcpy(&run->msr.data, data, sizeof(run->msr.data));
      run->msr.error = words[ERROR] != 0 ? 1 : 0;
      break;
    case KVM_EXIT_X86_WRMSR:
      run->msr.error = words[ERROR] != 0 ? 1 : 0;
      break;
    default:
      break;
  }
  answered_ = KVM_EXIT_UNKNOWN;
}

/** Writes an exit's particulars into the array. */
std::uint32_t KvmVcpu::describe(Napi::Env env, std::uint32_t reason) {
  if (reason == EXIT_ERROR) {
    throwSystemError(env, "KVM_RUN", core_->error());
  }
  const kvm_run *run = core_->run();
  auto *words = reinterpret_cast<std::uint32_t *>(exits_);
  std::uint8_t *data = exits_ + HEADER_BYTES;
  words[0] = reason;
  words[ERROR] = 0;
  words[READY_FOR_INTERRUPT] = run->ready_for_interrupt_injection;
  words[INTERRUPT_FLAG] = run->if_flag;
  words[CR8] = static_cast<std::uint32_t>(run->cr8);
  words[RUN_FLAGS] = run->flags;
  words[COALESCED] = hasCoalesced() ? 1 : 0;
  // Until the guest's next move it keeps the task priority that it has.
  words[CR8_IN] = words[CR8];
  answered_ = reason;
  switch (reason) {
    case KVM_EXIT_IO: {
      words[A] = run->io.direction == KVM_EXIT_IO_OUT ? 1 : 0;
      words[B] = run->io.size;
      words[C] = run->io.port;
      words[D] = run->io.count;
      if (run->io.direction == KVM_EXIT_IO_OUT) {
        const std::size_t length = std::min<std::size_t>(std::size_t{run->io.size} * run->io.count, DATA_BYTES);
        std::memcpy(data, reinterpret_cast<const std::uint8_t *>(run) + run->io.data_offset, length);
      }
      break;
    }
    case KVM_EXIT_MMIO:
      words[A] = run->mmio.is_write;
      words[B] = run->mmio.len;
      words[C] = static_cast<std::uint32_t>(run->mmio.phys_addr);
      words[D] = static_cast<std::uint32_t>(run->mmio.phys_addr >> 32);
      std::memcpy(data, run->mmio.data, sizeof(run->mmio.data));
      break;
    case KVM_EXIT_INTERNAL_ERROR:
      words[A] = run->internal.suberror;
      words[B] = std::min<std::uint32_t>(run->internal.ndata, 16);
      std::memcpy(data, run->internal.data, words[B] * sizeof(run->internal.data[0]));
      break;
    case KVM_EXIT_FAIL_ENTRY:
      words[C] = static_cast<std::uint32_t>(run->fail_entry.hardware_entry_failure_reason);
      words[D] = static_cast<std::uint32_t>(run->fail_entry.hardware_entry_failure_reason >> 32);
      break;
    case KVM_EXIT_SYSTEM_EVENT:
      words[A] = run->system_event.type;
      break;
    case KVM_EXIT_IOAPIC_EOI:
      words[A] = run->eoi.vector;
      break;
    case KVM_EXIT_X86_RDMSR:
    case KVM_EXIT_X86_WRMSR:
      words[A] = run->msr.reason;
      words[B] = run->msr.index;
      std::memcpy(data, &run->msr.data, sizeof(run->msr.data));
      break;
    default:
      break;
  }
  return reason;
}

/** Runs the processor in this thread until it exits, is kicked, or its timer fires; returns the reason. */
napi_value KvmVcpu::run(napi_env env, napi_callback_info info) {
  void *data = nullptr;
  napi_get_cb_info(env, info, nullptr, nullptr, nullptr, &data);
  auto *self = static_cast<KvmVcpu *>(data);
  napi_value reason = nullptr;
  try {
    VcpuCore &core = self->idle(env);
    self->prepare();
    napi_create_uint32(env, self->describe(env, core.enter()), &reason);
  } catch (const Napi::Error &error) {
    error.ThrowAsJavaScriptException();
  }
  return reason;
}

/** (nanoseconds): makes `run` in this thread come back after that time; 0: not. */
void KvmVcpu::armTimer(const Napi::CallbackInfo &info) {
  idle(info.Env());
  if (!timer_.arm(uint53Of(info.Env(), info[0]))) {
    throwSystemError(info.Env(), "timer_create", errno);
  }
}

void KvmVcpu::start(const Napi::CallbackInfo &info) {
  idle(info.Env());
  if (thread_ == nullptr) {
    thread_ = std::make_unique<VcpuThread>(core_, vm_->queue, index_);
  }
}

/** Lets the thread run on; `KvmVm.wait` tells when it has an exit. */
void KvmVcpu::resume(const Napi::CallbackInfo &info) {
  idle(info.Env());
  if (thread_ == nullptr) {
    throwTypeError(info.Env(), "the processor has no thread");
  }
  prepare();
  thread_->resume();
}

/** After `wait` named this processor: its exit's reason. */
Napi::Value KvmVcpu::takeExit(const Napi::CallbackInfo &info) {
  idle(info.Env());
  if (thread_ == nullptr) {
    throwTypeError(info.Env(), "the processor has no thread");
  }
  return Napi::Number::New(info.Env(), describe(info.Env(), thread_->reason()));
}

void KvmVcpu::kick(const Napi::CallbackInfo &info) {
  if (core_ == nullptr) {
    throwTypeError(info.Env(), "the processor was closed");
  }
  core_->kick();
}

Napi::Value KvmVcpu::kickHandle(const Napi::CallbackInfo &info) { return Napi::Number::New(info.Env(), kickHandle_); }

/** The kernel's number of its thread; 0 while there is none. */
Napi::Value KvmVcpu::threadId(const Napi::CallbackInfo &info) {
  return Napi::Number::New(info.Env(), thread_ == nullptr ? 0 : thread_->id());
}

/** Processor time that its thread has spent, in nanoseconds. */
Napi::Value KvmVcpu::threadNanos(const Napi::CallbackInfo &info) {
  return Napi::Number::New(info.Env(), thread_ == nullptr ? 0 : thread_->spentNanos());
}

/** Carries the instruction of the last exit to its end without running another; returns the reason. */
Napi::Value KvmVcpu::complete(const Napi::CallbackInfo &info) {
  VcpuCore &core = idle(info.Env());
  prepare();
  return Napi::Number::New(info.Env(), describe(info.Env(), core.finish()));
}

/** Takes what is due into the registers without running an instruction. */
void KvmVcpu::settle(const Napi::CallbackInfo &info) {
  VcpuCore &core = idle(info.Env());
  if (!core.settle()) {
    throwSystemError(info.Env(), "KVM_RUN", core.error());
  }
}

/** The machine's ring of coalesced writes, which every processor's mapping shows; nullptr while nothing coalesces. */
CoalescedHead *KvmVcpu::ring() const {
  auto *bytes = reinterpret_cast<std::uint8_t *>(core_->run());
  return vm_->coalescedOffset == 0 ? nullptr : reinterpret_cast<CoalescedHead *>(bytes + vm_->coalescedOffset);
}

bool KvmVcpu::hasCoalesced() const {
  const CoalescedHead *head = ring();
  return head != nullptr && head->first != __atomic_load_n(&head->last, __ATOMIC_ACQUIRE);
}

/** Fills an array with coalesced writes (address low, address high, length, ports?, data low, data high); how many. */
Napi::Value KvmVcpu::takeCoalesced(const Napi::CallbackInfo &info) {
  if (core_ == nullptr) {
    throwTypeError(info.Env(), "the processor was closed");
  }
  const Bytes into = bytesOf(info.Env(), info[0]);
  CoalescedHead *head = ring();
  if (head == nullptr) {
    return Napi::Number::New(info.Env(), 0);
  }
  const auto *entries = reinterpret_cast<const kvm_coalesced_mmio *>(head + 1);
  constexpr std::uint32_t capacity = (4096 - sizeof(CoalescedHead)) / sizeof(kvm_coalesced_mmio);
  std::size_t count = 0;
  std::uint32_t first = head->first % capacity;
  const std::uint32_t last = __atomic_load_n(&head->last, __ATOMIC_ACQUIRE) % capacity;
  while (first != last && (count + 1) * 24 <= into.length) {
    const kvm_coalesced_mmio &entry = entries[first];
    std::uint32_t words[6] = {static_cast<std::uint32_t>(entry.phys_addr),
                              static_cast<std::uint32_t>(entry.phys_addr >> 32), entry.len, entry.pio, 0, 0};
    std::memcpy(&words[4], entry.data, sizeof(entry.data));
    std::memcpy(into.data + count * 24, words, sizeof(words));
    count++;
    first = (first + 1) % capacity;
    __atomic_store_n(&head->first, first, __ATOMIC_RELEASE);
  }
  return Napi::Number::New(info.Env(), static_cast<double>(count));
}

void KvmVcpu::get(const Napi::CallbackInfo &info) {
  getStructure(info, STRUCTURES, std::size(STRUCTURES), idle(info.Env()).fd());
}

void KvmVcpu::set(const Napi::CallbackInfo &info) {
  setStructure(info, STRUCTURES, std::size(STRUCTURES), idle(info.Env()).fd());
}

/** (array of kvm_msr_entry: index, 0, value low, value high): how many, from the first on, were read. */
Napi::Value KvmVcpu::getMsrs(const Napi::CallbackInfo &info) {
  VcpuCore &core = idle(info.Env());
  const Bytes bytes = bytesOf(info.Env(), info[0]);
  const std::size_t count = bytes.length / sizeof(kvm_msr_entry);
  MsrList list(count);
  std::memcpy(list.entries(), bytes.data, count * sizeof(kvm_msr_entry));
  const int done = ioctl(core.fd(), REQUEST_GET_MSRS, list.data());
  if (done < 0) {
    throwSystemError(info.Env(), "KVM_GET_MSRS", errno);
  }
  std::memcpy(bytes.data, list.entries(), count * sizeof(kvm_msr_entry));
  return Napi::Number::New(info.Env(), done);
}

Napi::Value KvmVcpu::setMsrs(const Napi::CallbackInfo &info) {
  VcpuCore &core = idle(info.Env());
  const Bytes bytes = bytesOf(info.Env(), info[0]);
  const std::size_t count = bytes.length / sizeof(kvm_msr_entry);
  MsrList list(count);
  std::memcpy(list.entries(), bytes.data, count * sizeof(kvm_msr_entry));
  const int done = ioctl(core.fd(), REQUEST_SET_MSRS, list.data());
  if (done < 0) {
    throwSystemError(info.Env(), "KVM_SET_MSRS", errno);
  }
  return Napi::Number::New(info.Env(), done);
}

/** (Uint32Array of kvm_cpuid_entry2, 10 words each) */
void KvmVcpu::setCpuid(const Napi::CallbackInfo &info) {
  VcpuCore &core = idle(info.Env());
  const Bytes bytes = bytesOf(info.Env(), info[0]);
  const std::size_t count = bytes.length / sizeof(kvm_cpuid_entry2);
  CpuidList list(count);
  std::memcpy(list.entries(), bytes.data, count * sizeof(kvm_cpuid_entry2));
  if (ioctl(core.fd(), REQUEST_SET_CPUID2, list.data()) < 0) {
    throwSystemError(info.Env(), "KVM_SET_CPUID2", errno);
  }
}

/** (vector): an external interrupt, which the processor must be ready for. */
void KvmVcpu::interrupt(const Napi::CallbackInfo &info) {
  kvm_interrupt interrupt = {};
  interrupt.irq = uint32Of(info.Env(), info[0]);
  if (ioctl(idle(info.Env()).fd(), KVM_INTERRUPT, &interrupt) < 0) {
    throwSystemError(info.Env(), "KVM_INTERRUPT", errno);
  }
}

void KvmVcpu::nmi(const Napi::CallbackInfo &info) {
  if (ioctl(idle(info.Env()).fd(), KVM_NMI, 0) < 0) {
    throwSystemError(info.Env(), "KVM_NMI", errno);
  }
}

/** What KVM adds to the host's time-stamp counter, as a signed BigInt; undefined where KVM does not tell. */
Napi::Value KvmVcpu::tscOffset(const Napi::CallbackInfo &info) {
  std::int64_t offset = 0;
  kvm_device_attr attribute = {};
  attribute.group = KVM_VCPU_TSC_CTRL;
  attribute.attr = KVM_VCPU_TSC_OFFSET;
  attribute.addr = reinterpret_cast<std::uint64_t>(&offset);
  if (ioctl(idle(info.Env()).fd(), KVM_GET_DEVICE_ATTR, &attribute) < 0) {
    return info.Env().Undefined();
  }
  return Napi::BigInt::New(info.Env(), offset);
}

void KvmVcpu::setTscOffset(const Napi::CallbackInfo &info) {
  if (!info[0].IsBigInt()) {
    throwTypeError(info.Env(), "a BigInt is wanted");
  }
  bool lossless = false;
  std::int64_t offset = info[0].As<Napi::BigInt>().Int64Value(&lossless);
  kvm_device_attr attribute = {};
  attribute.group = KVM_VCPU_TSC_CTRL;
  attribute.attr = KVM_VCPU_TSC_OFFSET;
  attribute.addr = reinterpret_cast<std::uint64_t>(&offset);
  if (ioctl(idle(info.Env()).fd(), KVM_SET_DEVICE_ATTR, &attribute) < 0) {
    throwSystemError(info.Env(), "KVM_SET_DEVICE_ATTR", errno);
  }
}

Napi::Value KvmVcpu::tscKilohertz(const Napi::CallbackInfo &info) {
  const int frequency = ioctl(idle(info.Env()).fd(), KVM_GET_TSC_KHZ, 0);
  if (frequency < 0) {
    throwSystemError(info.Env(), "KVM_GET_TSC_KHZ", errno);
  }
  return Napi::Number::New(info.Env(), frequency);
}

void KvmVcpu::close(const Napi::CallbackInfo &) { release(); }

}  // namespace lodge
