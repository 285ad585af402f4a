export { LayerAuthProvider } from './provider.js'
export type { LayerAuthProviderProps } from './provider.js'
export { useLayerToken } from './use-layer-token.js'
