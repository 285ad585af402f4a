#ifndef LAYERFI_AUTH_HPP
#define LAYERFI_AUTH_HPP
#include "layerfi_auth.h"
#endif
