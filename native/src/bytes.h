#pragma once

#include <napi.h>

#include <cstddef>
#include <cstdint>

#include "ioctl-error.h"

namespace lodge {

/** The bytes under a typed array. They stay where they are as long as a reference to the array is kept. */
struct Bytes {
  std::uint8_t *data;
  std::size_t length;
};

inline Bytes bytesOf(Napi::Env env, const Napi::Value &value) {
  napi_typedarray_type type;
  std::size_t elements = 0;
  void *data = nullptr;
  std::size_t offset = 0;
  // Straight from the typed array: the buffer below may be a SharedArrayBuffer, which has no N-API type everywhere.
  if (!value.IsTypedArray() ||
      napi_get_typedarray_info(env, value, &type, &elements, &data, nullptr, &offset) != napi_ok) {
    throwTypeError(env, "a typed array is wanted");
  }
  return {static_cast<std::uint8_t *>(data), elements * value.As<Napi::TypedArray>().ElementSize()};
}

/** The same, for a structure of exactly `length` bytes. */
inline std::uint8_t *exactly(Napi::Env env, const Napi::Value &value, std::size_t length) {
  const Bytes bytes = bytesOf(env, value);
  if (bytes.length != length) {
    throwTypeError(env, "the array does not have the length of the structure");
  }
  return bytes.data;
}

inline std::uint32_t uint32Of(Napi::Env env, const Napi::Value &value) {
  if (!value.IsNumber()) {
    throwTypeError(env, "a number is wanted");
  }
  return value.As<Napi::Number>().Uint32Value();
}

/** Addresses and lengths: numbers below 2^53. */
inline std::uint64_t uint53Of(Napi::Env env, const Napi::Value &value) {
  const double number = value.IsNumber() ? value.As<Napi::Number>().DoubleValue() : -1;
  if (!(number >= 0 && number <= 9007199254740991.0)) {
    throwTypeError(env, "a number from 0 to 2^53 - 1 is wanted");
  }
  return static_cast<std::uint64_t>(number);
}

}  // namespace lodge
