import type { LayerTokenSource, LayerTokenState } from 'layerfi-auth-browser'
import { useSyncExternalStore } from 'react'

/** Returns the state of a source and renders again when it changes. */
export function useLayerToken(source: LayerTokenSource): LayerTokenState {
  return useSyncExternalStore(source.subscribe, source.getSnapshot, source.getServerSnapshot)
}
