#pragma once

#include <napi.h>

namespace lodge {

/** Adds `fallocate` to the addon. */
void defineFileBlocks(Napi::Env env, Napi::Object exports);

}  // namespace lodge
