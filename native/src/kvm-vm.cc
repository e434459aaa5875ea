#include "kvm-vm.h"

#include <linux/kvm.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string>

#include "bytes.h"
#include "kvm-vcpu.h"
#include "lists.h"
#include "structures.h"

namespace lodge {
namespace {

constexpr std::uint64_t PAGE = 4096;

/** `create` hands these over to the constructor, which JavaScript cannot call with anything useful. */
struct Handover {
  FileDescriptor fd;
  std::size_t runSize;
};

Napi::FunctionReference &constructorIn(Napi::Env env) {
  auto *data = env.GetInstanceData<AddonData>();
  return data->vmConstructor;
}

constexpr Structure STRUCTURES[] = {
    {"irqchip", sizeof(kvm_irqchip), KVM_GET_IRQCHIP, "KVM_GET_IRQCHIP", KVM_SET_IRQCHIP, "KVM_SET_IRQCHIP"},
    {"pit2", sizeof(kvm_pit_state2), KVM_GET_PIT2, "KVM_GET_PIT2", KVM_SET_PIT2, "KVM_SET_PIT2"},
    {"clock", sizeof(kvm_clock_data), KVM_GET_CLOCK, "KVM_GET_CLOCK", KVM_SET_CLOCK, "KVM_SET_CLOCK"},
};

}  // namespace

Napi::Function KvmVm::define(Napi::Env env) {
  return DefineClass(env, "KvmVm",
                     {
                         InstanceMethod<&KvmVm::checkExtension>("checkExtension"),
                         InstanceMethod<&KvmVm::enableCapability>("enableCapability"),
                         InstanceMethod<&KvmVm::borrow>("borrow"),
                         InstanceMethod<&KvmVm::setMemory>("setMemory"),
                         InstanceMethod<&KvmVm::adviseHugePages>("adviseHugePages"),
                         InstanceMethod<&KvmVm::memoryAddress>("memoryAddress"),
                         InstanceMethod<&KvmVm::takeDirty>("takeDirty"),
                         InstanceMethod<&KvmVm::setAddresses>("setAddresses"),
                         InstanceMethod<&KvmVm::createIrqchip>("createIrqchip"),
                         InstanceMethod<&KvmVm::createPit>("createPit"),
                         InstanceMethod<&KvmVm::setIrqLine>("setIrqLine"),
                         InstanceMethod<&KvmVm::signalMsi>("signalMsi"),
                         InstanceMethod<&KvmVm::setGsiRouting>("setGsiRouting"),
                         InstanceMethod<&KvmVm::get>("get"),
                         InstanceMethod<&KvmVm::set>("set"),
                         InstanceMethod<&KvmVm::setCoalescing>("setCoalescing"),
                         InstanceMethod<&KvmVm::setDoorbell>("setDoorbell"),
                         InstanceMethod<&KvmVm::takeDoorbells>("takeDoorbells"),
                         InstanceMethod<&KvmVm::setIrqfd>("setIrqfd"),
                         InstanceMethod<&KvmVm::signalIrqfd>("signalIrqfd"),
                         InstanceMethod<&KvmVm::setMsrFilter>("setMsrFilter"),
                         InstanceMethod<&KvmVm::createVcpu>("createVcpu"),
                         InstanceMethod<&KvmVm::wait>("wait"),
                         InstanceMethod<&KvmVm::kickHandle>("kickHandle"),
                         InstanceMethod<&KvmVm::close>("close"),
                     });
}

Napi::Value KvmVm::create(Napi::Env env, FileDescriptor fd, std::size_t runSize) {
  Handover handover{std::move(fd), runSize};
  return constructorIn(env).New({Napi::External<Handover>::New(env, &handover)});
}

KvmVm::KvmVm(const Napi::CallbackInfo &info) : Napi::ObjectWrap<KvmVm>(info) {
  if (!info[0].IsExternal()) {
    throwTypeError(info.Env(), "virtual machines are made by createVm");
  }
  auto *handover = info[0].As<Napi::External<Handover>>().Data();
  shared_ = std::make_shared<VmShared>();
  shared_->fd = std::move(handover->fd);
  shared_->runSize = handover->runSize;
  if (!shared_->queue->isOpen()) {
    throwSystemError(info.Env(), "eventfd", errno);
  }
  kickHandle_ = KickRegistry::instance().add(nullptr, shared_->queue);
}

KvmVm::~KvmVm() { release(); }

void KvmVm::release() {
  if (shared_ == nullptr) {
    return;
  }
  KickRegistry::instance().remove(kickHandle_);
  // Processors that live on keep the file open but must not reach memory that JavaScript may free.
  for (const std::uint32_t slot : slots_) {
    kvm_userspace_memory_region region = {};
    region.slot = slot;
    ioctl(shared_->fd.get(), KVM_SET_USER_MEMORY_REGION, &region);
  }
  slots_.clear();
  for (auto &[token, doorbell] : doorbells_) {
    shared_->queue->removeDoorbell(doorbell.event.get());
  }
  doorbells_.clear();
  irqfds_.clear();
  memory_ = nullptr;
  memoryReference_.Reset();
  shared_.reset();
}

VmShared &KvmVm::opened(Napi::Env env) const {
  if (shared_ == nullptr) {
    throwTypeError(env, "the virtual machine was closed");
  }
  return *shared_;
}

Napi::Value KvmVm::checkExtension(const Napi::CallbackInfo &info) {
  const int answer = ioctl(opened(info.Env()).fd.get(), KVM_CHECK_EXTENSION, uint32Of(info.Env(), info[0]));
  if (answer < 0) {
    throwSystemError(info.Env(), "KVM_CHECK_EXTENSION", errno);
  }
  return Napi::Number::New(info.Env(), answer);
}

/** (capability, argument 0) */
void KvmVm::enableCapability(const Napi::CallbackInfo &info) {
  kvm_enable_cap cap = {};
  cap.cap = uint32Of(info.Env(), info[0]);
  cap.args[0] = uint53Of(info.Env(), info[1]);
  if (ioctl(opened(info.Env()).fd.get(), KVM_ENABLE_CAP, &cap) < 0) {
    throwSystemError(info.Env(), "KVM_ENABLE_CAP", errno);
  }
}

/** Takes the memory, a typed array over all of it, from which slots are cut. */
void KvmVm::borrow(const Napi::CallbackInfo &info) {
  opened(info.Env());
  if (memory_ != nullptr) {
    throwTypeError(info.Env(), "the virtual machine has its memory already");
  }
  const Bytes bytes = bytesOf(info.Env(), info[0]);
  if (reinterpret_cast<std::uintptr_t>(bytes.data) % PAGE != 0) {
    throwTypeError(info.Env(), "the memory does not begin at a page");
  }
  memoryReference_ = Napi::Reference<Napi::Value>::New(info[0], 1);
  memory_ = bytes.data;
  memoryLength_ = bytes.length;
}

/** (slot, flags, guest-physical address, size, offset in the borrowed memory); size 0 removes the slot. */
void KvmVm::setMemory(const Napi::CallbackInfo &info) {
  VmShared &vm = opened(info.Env());
  kvm_userspace_memory_region region = {};
  region.slot = uint32Of(info.Env(), info[0]);
  region.flags = uint32Of(info.Env(), info[1]);
  region.guest_phys_addr = uint53Of(info.Env(), info[2]);
  region.memory_size = uint53Of(info.Env(), info[3]);
  const std::uint64_t offset = uint53Of(info.Env(), info[4]);
  if (region.memory_size != 0) {
    if (memory_ == nullptr || offset > memoryLength_ || region.memory_size > memoryLength_ - offset ||
        offset % PAGE != 0) {
      throwTypeError(info.Env(), "the slot lies outside the borrowed memory");
    }
    region.userspace_addr = reinterpret_cast<std::uint64_t>(memory_ + offset);
  }
  if (ioctl(vm.fd.get(), KVM_SET_USER_MEMORY_REGION, &region) < 0) {
    throwSystemError(info.Env(), "KVM_SET_USER_MEMORY_REGION", errno);
  }
  slots_.erase(std::remove(slots_.begin(), slots_.end(), region.slot), slots_.end());
  if (region.memory_size != 0) {
    slots_.push_back(region.slot);
  }
}

/** (offset, length): asks for transparent huge pages. The kernel is free to decline. */
void KvmVm::adviseHugePages(const Napi::CallbackInfo &info) {
  opened(info.Env());
  const std::uint64_t offset = uint53Of(info.Env(), info[0]);
  const std::uint64_t length = uint53Of(info.Env(), info[1]);
  if (memory_ == nullptr || offset % PAGE != 0 || offset > memoryLength_ || length > memoryLength_ - offset) {
    throwTypeError(info.Env(), "the range lies outside the borrowed memory");
  }
  if (madvise(memory_ + offset, length, MADV_HUGEPAGE) != 0 && errno != EINVAL) {
    throwSystemError(info.Env(), "madvise", errno);
  }
}

/** Where the memory lies in this process, modulo 2 MiB: what decides whether the guest gets large pages. */
Napi::Value KvmVm::memoryAddress(const Napi::CallbackInfo &info) {
  opened(info.Env());
  return Napi::Number::New(info.Env(), static_cast<double>(reinterpret_cast<std::uintptr_t>(memory_) % (2u << 20)));
}

/** (slot, array of one bit a page): the pages written since the last call. */
void KvmVm::takeDirty(const Napi::CallbackInfo &info) {
  VmShared &vm = opened(info.Env());
  const Bytes into = bytesOf(info.Env(), info[1]);
  kvm_dirty_log log = {};
  log.slot = uint32Of(info.Env(), info[0]);
  // KVM writes whole words of 64 pages.
  if (into.length % 8 != 0 || into.length * 8 < uint53Of(info.Env(), info[2])) {
    throwTypeError(info.Env(), "the array is too short for the slot");
  }
  log.dirty_bitmap = into.data;
  if (ioctl(vm.fd.get(), KVM_GET_DIRTY_LOG, &log) < 0) {
    throwSystemError(info.Env(), "KVM_GET_DIRTY_LOG", errno);
  }
}

/** (TSS address, identity map address): pages that Intel's virtualization wants for real mode. */
void KvmVm::setAddresses(const Napi::CallbackInfo &info) {
  VmShared &vm = opened(info.Env());
  std::uint64_t identity = uint53Of(info.Env(), info[1]);
  if (ioctl(vm.fd.get(), KVM_SET_IDENTITY_MAP_ADDR, &identity) < 0) {
    throwSystemError(info.Env(), "KVM_SET_IDENTITY_MAP_ADDR", errno);
  }
  if (ioctl(vm.fd.get(), KVM_SET_TSS_ADDR, uint32Of(info.Env(), info[0])) < 0) {
    throwSystemError(info.Env(), "KVM_SET_TSS_ADDR", errno);
  }
}

void KvmVm::createIrqchip(const Napi::CallbackInfo &info) {
  if (ioctl(opened(info.Env()).fd.get(), KVM_CREATE_IRQCHIP, 0) < 0) {
    throwSystemError(info.Env(), "KVM_CREATE_IRQCHIP", errno);
  }
}

/** (flags) */
void KvmVm::createPit(const Napi::CallbackInfo &info) {
  kvm_pit_config config = {};
  config.flags = uint32Of(info.Env(), info[0]);
  if (ioctl(opened(info.Env()).fd.get(), KVM_CREATE_PIT2, &config) < 0) {
    throwSystemError(info.Env(), "KVM_CREATE_PIT2", errno);
  }
}

/** (GSI, level) */
void KvmVm::setIrqLine(const Napi::CallbackInfo &info) {
  kvm_irq_level level = {};
  level.irq = uint32Of(info.Env(), info[0]);
  level.level = info[1].ToBoolean().Value() ? 1 : 0;
  if (ioctl(opened(info.Env()).fd.get(), KVM_IRQ_LINE, &level) < 0) {
    throwSystemError(info.Env(), "KVM_IRQ_LINE", errno);
  }
}

/** (address, data, address above 32 bits): how many processors took it. */
Napi::Value KvmVm::signalMsi(const Napi::CallbackInfo &info) {
  kvm_msi msi = {};
  msi.address_lo = uint32Of(info.Env(), info[0]);
  msi.data = uint32Of(info.Env(), info[1]);
  msi.address_hi = uint32Of(info.Env(), info[2]);
  const int taken = ioctl(opened(info.Env()).fd.get(), KVM_SIGNAL_MSI, &msi);
  // KVM's own "−1, nobody took it" reaches us as EPERM: guests send messages to processors that do not exist.
  if (taken < 0 && errno != EPERM) {
    throwSystemError(info.Env(), "KVM_SIGNAL_MSI", errno);
  }
  return Napi::Number::New(info.Env(), std::max(0, taken));
}

/**
 * (Uint32Array of GSI, type and three words, …): all routes. Type 1: controller, its pin, 0. Type 2: a message's address
 * low, high, and data.
 */
void KvmVm::setGsiRouting(const Napi::CallbackInfo &info) {
  VmShared &vm = opened(info.Env());
  const Bytes bytes = bytesOf(info.Env(), info[0]);
  std::uint32_t words[5];
  const std::size_t count = bytes.length / sizeof(words);
  RoutingList routing(count);
  for (std::size_t i = 0; i < count; i++) {
    std::memcpy(words, bytes.data + i * sizeof(words), sizeof(words));
    kvm_irq_routing_entry &entry = routing.entries()[i];
    entry.gsi = words[0];
    entry.type = words[1];
    if (entry.type == KVM_IRQ_ROUTING_IRQCHIP) {
      entry.u.irqchip.irqchip = words[2];
      entry.u.irqchip.pin = words[3];
    } else if (entry.type == KVM_IRQ_ROUTING_MSI) {
      entry.u.msi.address_lo = words[2];
      entry.u.msi.address_hi = words[3];
      entry.u.msi.data = words[4];
    } else {
      throwTypeError(info.Env(), "routes lead to a controller's pin or are messages");
    }
  }
  if (ioctl(vm.fd.get(), REQUEST_SET_GSI_ROUTING, routing.data()) < 0) {
    throwSystemError(info.Env(), "KVM_SET_GSI_ROUTING", errno);
  }
}

void KvmVm::get(const Napi::CallbackInfo &info) {
  getStructure(info, STRUCTURES, std::size(STRUCTURES), opened(info.Env()).fd.get());
}

void KvmVm::set(const Napi::CallbackInfo &info) {
  setStructure(info, STRUCTURES, std::size(STRUCTURES), opened(info.Env()).fd.get());
}

/** (address, length, whether ports, on): writes that wait in the ring until the next exit. */
void KvmVm::setCoalescing(const Napi::CallbackInfo &info) {
  kvm_coalesced_mmio_zone zone = {};
  zone.addr = uint53Of(info.Env(), info[0]);
  zone.size = uint32Of(info.Env(), info[1]);
  zone.pio = info[2].ToBoolean().Value() ? 1 : 0;
  const bool on = info[3].ToBoolean().Value();
  if (ioctl(opened(info.Env()).fd.get(), on ? KVM_REGISTER_COALESCED_MMIO : KVM_UNREGISTER_COALESCED_MMIO, &zone) <
      0) {
    throwSystemError(info.Env(), on ? "KVM_REGISTER_COALESCED_MMIO" : "KVM_UNREGISTER_COALESCED_MMIO", errno);
  }
  if (on && shared_->coalescedOffset == 0) {
    // The answer is the page of a processor's mapping where the ring lies.
    const int page = ioctl(shared_->fd.get(), KVM_CHECK_EXTENSION, KVM_CAP_COALESCED_MMIO);
    const std::size_t offset = page > 0 ? static_cast<std::size_t>(page) * PAGE : 0;
    shared_->coalescedOffset = offset + PAGE <= shared_->runSize ? offset : 0;
  }
}

/**
 * (token, address, length, whether a port, value or undefined): writes there ring the doorbell instead of ending
 * KVM_RUN. Length 0 takes it away, and what has rung of it is forgotten.
 */
void KvmVm::setDoorbell(const Napi::CallbackInfo &info) {
  VmShared &vm = opened(info.Env());
  const std::uint32_t token = uint32Of(info.Env(), info[0]);
  const auto found = doorbells_.find(token);
  if (found != doorbells_.end()) {
    found->second.registration.flags |= KVM_IOEVENTFD_FLAG_DEASSIGN;
    ioctl(vm.fd.get(), KVM_IOEVENTFD, &found->second.registration);
    vm.queue->removeDoorbell(found->second.event.get());
    doorbells_.erase(found);
  }
  const std::uint32_t length = uint32Of(info.Env(), info[2]);
  if (length == 0) {
    return;
  }
  Doorbell doorbell = {FileDescriptor(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)), {}};
  if (!doorbell.event.isOpen()) {
    throwSystemError(info.Env(), "eventfd", errno);
  }
  doorbell.registration.addr = uint53Of(info.Env(), info[1]);
  doorbell.registration.len = length;
  doorbell.registration.fd = doorbell.event.get();
  if (info[3].ToBoolean().Value()) {
    doorbell.registration.flags |= KVM_IOEVENTFD_FLAG_PIO;
  }
  if (info[4].IsNumber()) {
    doorbell.registration.flags |= KVM_IOEVENTFD_FLAG_DATAMATCH;
    doorbell.registration.datamatch = uint32Of(info.Env(), info[4]);
  }
  if (ioctl(vm.fd.get(), KVM_IOEVENTFD, &doorbell.registration) < 0) {
    throwSystemError(info.Env(), "KVM_IOEVENTFD", errno);
  }
  if (!vm.queue->addDoorbell(doorbell.event.get(), token)) {
    throwSystemError(info.Env(), "epoll_ctl", errno);
  }
  doorbells_.emplace(token, std::move(doorbell));
}

/** (Uint32Array): tokens of doorbells that have rung; how many. */
Napi::Value KvmVm::takeDoorbells(const Napi::CallbackInfo &info) {
  VmShared &vm = opened(info.Env());
  const Bytes into = bytesOf(info.Env(), info[0]);
  const std::size_t count =
      vm.queue->takeDoorbells(reinterpret_cast<std::uint32_t *>(into.data), into.length / sizeof(std::uint32_t));
  return Napi::Number::New(info.Env(), static_cast<double>(count));
}

/** (GSI, on): an interrupt that is raised by a write to a file (`signalIrqfd`), as its route says. */
void KvmVm::setIrqfd(const Napi::CallbackInfo &info) {
  VmShared &vm = opened(info.Env());
  const std::uint32_t gsi = uint32Of(info.Env(), info[0]);
  const bool on = info[1].ToBoolean().Value();
  const auto found = irqfds_.find(gsi);
  if (on == (found != irqfds_.end())) {
    return;
  }
  kvm_irqfd irqfd = {};
  irqfd.gsi = gsi;
  if (!on) {
    irqfd.fd = static_cast<std::uint32_t>(found->second.get());
    irqfd.flags = KVM_IRQFD_FLAG_DEASSIGN;
    ioctl(vm.fd.get(), KVM_IRQFD, &irqfd);
    irqfds_.erase(found);
    return;
  }
  FileDescriptor event(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!event.isOpen()) {
    throwSystemError(info.Env(), "eventfd", errno);
  }
  irqfd.fd = static_cast<std::uint32_t>(event.get());
  if (ioctl(vm.fd.get(), KVM_IRQFD, &irqfd) < 0) {
    throwSystemError(info.Env(), "KVM_IRQFD", errno);
  }
  irqfds_.emplace(gsi, std::move(event));
}

/** (GSI) */
void KvmVm::signalIrqfd(const Napi::CallbackInfo &info) {
  opened(info.Env());
  const auto found = irqfds_.find(uint32Of(info.Env(), info[0]));
  if (found == irqfds_.end()) {
    throwTypeError(info.Env(), "there is no such interrupt");
  }
  eventfd_write(found->second.get(), 1);
}

/** (Uint32Array of first register, count, …): registers that are KVM's; accesses to all others come back as exits. */
void KvmVm::setMsrFilter(const Napi::CallbackInfo &info) {
  VmShared &vm = opened(info.Env());
  const Bytes bytes = bytesOf(info.Env(), info[0]);
  const std::size_t count = bytes.length / 8;
  if (count > KVM_MSR_FILTER_MAX_RANGES) {
    throwTypeError(info.Env(), "KVM filters fewer ranges");
  }
  kvm_msr_filter filter = {};
  filter.flags = KVM_MSR_FILTER_DEFAULT_DENY;
  // A set bit allows: one map of ones serves all ranges.
  std::vector<std::uint8_t> allowed(0x2000 / 8, 0xff);
  for (std::size_t i = 0; i < count; i++) {
    std::uint32_t words[2];
    std::memcpy(words, bytes.data + i * 8, sizeof(words));
    if (words[1] > 0x2000) {
      throwTypeError(info.Env(), "the range is too long");
    }
    filter.ranges[i].flags = KVM_MSR_FILTER_READ | KVM_MSR_FILTER_WRITE;
    filter.ranges[i].base = words[0];
    filter.ranges[i].nmsrs = words[1];
    filter.ranges[i].bitmap = allowed.data();
  }
  if (ioctl(vm.fd.get(), KVM_X86_SET_MSR_FILTER, &filter) < 0) {
    throwSystemError(info.Env(), "KVM_X86_SET_MSR_FILTER", errno);
  }
}

/** (number, array for exits) */
Napi::Value KvmVm::createVcpu(const Napi::CallbackInfo &info) {
  opened(info.Env());
  return KvmVcpu::create(info.Env(), shared_, uint32Of(info.Env(), info[0]), info[1]);
}

/** (nanoseconds): the number of a processor on a thread of its own that has an exit, or −1. */
Napi::Value KvmVm::wait(const Napi::CallbackInfo &info) {
  return Napi::Number::New(info.Env(), opened(info.Env()).queue->wait(uint53Of(info.Env(), info[0])));
}

Napi::Value KvmVm::kickHandle(const Napi::CallbackInfo &info) { return Napi::Number::New(info.Env(), kickHandle_); }

void KvmVm::close(const Napi::CallbackInfo &) { release(); }

}  // namespace lodge
