//! layerfi-auth
