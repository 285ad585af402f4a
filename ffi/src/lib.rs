//! The ffi face of layerfi-auth.
