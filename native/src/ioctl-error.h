#pragma once

#include <napi.h>

namespace lodge {

/**
 * Throws a JavaScript Error for a failed system call: properties `call` (the ioctl's or function's name), `errno`
 * (number), `code` ("EINVAL") and a message with the meaning that the error has for this call.
 */
[[noreturn]] void throwSystemError(Napi::Env env, const char *call, int error);

/** A caller's mistake: becomes a TypeError. */
[[noreturn]] void throwTypeError(Napi::Env env, const char *message);

}  // namespace lodge
