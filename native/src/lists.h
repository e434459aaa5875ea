#pragma once

#include <linux/ioctl.h>
#include <linux/kvm.h>

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <vector>

namespace lodge {

/**
 * KVM's structures that end in an array of entries. The kernel's own declarations have another size in C++, where an
 * empty structure takes a byte; so the heads are declared here, and their requests made from them.
 */
struct CpuidHead {
  std::uint32_t count;
  std::uint32_t padding;
};
struct MsrIndexHead {
  std::uint32_t count;
};
struct MsrsHead {
  std::uint32_t count;
  std::uint32_t padding;
};
struct RoutingHead {
  std::uint32_t count;
  std::uint32_t flags;
};
struct SignalMaskHead {
  std::uint32_t length;
};
struct CoalescedHead {
  std::uint32_t first;
  std::uint32_t last;
};

struct XsaveArea {
  std::uint32_t words[1024];
};

constexpr unsigned long REQUEST_GET_XSAVE = _IOR(KVMIO, 0xa4, XsaveArea);
constexpr unsigned long REQUEST_SET_XSAVE = _IOW(KVMIO, 0xa5, XsaveArea);
constexpr unsigned long REQUEST_SUPPORTED_CPUID = _IOWR(KVMIO, 0x05, CpuidHead);
constexpr unsigned long REQUEST_SET_CPUID2 = _IOW(KVMIO, 0x90, CpuidHead);
constexpr unsigned long REQUEST_MSR_INDEX_LIST = _IOWR(KVMIO, 0x02, MsrIndexHead);
constexpr unsigned long REQUEST_GET_MSRS = _IOWR(KVMIO, 0x88, MsrsHead);
constexpr unsigned long REQUEST_SET_MSRS = _IOW(KVMIO, 0x89, MsrsHead);
constexpr unsigned long REQUEST_SET_SIGNAL_MASK = _IOW(KVMIO, 0x8b, SignalMaskHead);
constexpr unsigned long REQUEST_SET_GSI_ROUTING = _IOW(KVMIO, 0x6a, RoutingHead);

static_assert(sizeof(kvm_cpuid_entry2) == 40);
static_assert(sizeof(kvm_msr_entry) == 16);
static_assert(sizeof(kvm_irq_routing_entry) == 48);
static_assert(sizeof(kvm_coalesced_mmio) == 24);

/** A head with its entries behind it. */
template <typename Head, typename Entry>
class List {
 public:
  explicit List(std::size_t count) : bytes_(sizeof(Head) + count * sizeof(Entry)) {
    head().count = static_cast<std::uint32_t>(count);
  }
  Head &head() { return *reinterpret_cast<Head *>(bytes_.data()); }
  Entry *entries() { return reinterpret_cast<Entry *>(bytes_.data() + sizeof(Head)); }
  void *data() { return bytes_.data(); }

 private:
  std::vector<std::uint8_t> bytes_;
};

using CpuidList = List<CpuidHead, kvm_cpuid_entry2>;
using MsrIndexList = List<MsrIndexHead, std::uint32_t>;
using MsrList = List<MsrsHead, kvm_msr_entry>;
using RoutingList = List<RoutingHead, kvm_irq_routing_entry>;

}  // namespace lodge
