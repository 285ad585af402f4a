//! The python face of layerfi-auth.
