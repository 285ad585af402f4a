import { LayerProvider } from '@layerfi/components'
import { installStableToken } from 'layerfi-auth-browser'
import type { LayerSessionProps, LayerTokenSource } from 'layerfi-auth-browser'
import { useEffect, useInsertionEffect, useMemo, useRef, useSyncExternalStore } from 'react'
import type { ComponentProps, ReactElement, ReactNode } from 'react'

type LayerProviderProps = ComponentProps<typeof LayerProvider>

/** Props of `<LayerProvider>` that do not come from the session, and those of this package. */
export interface LayerAuthProviderProps extends Pick<
  LayerProviderProps,
  'locale' | 'theme' | 'usePlaidSandbox' | 'onError' | 'eventCallbacks'
> {
  source: LayerTokenSource
  /**
   * Gives the components a constant instead of the token, and puts the current token on their
   * calls. Renewals show nothing then. With `false`, each new token makes the components load
   * everything again. Default: `true`.
   */
  stableToken?: boolean
  /** Called when nobody is signed in any more, or somebody else. */
  onSignedOut?: () => void
  /** Shown instead of the children while there is no session. Default: nothing. */
  fallback?: ReactNode
  children?: ReactNode
}

/** Renders `<LayerProvider>` with a token that stays alive. */
export function LayerAuthProvider(props: LayerAuthProviderProps): ReactElement {
  const { source, stableToken = true } = props

  // Insertion effects run before the effects of the children, which send the first calls.
  useInsertionEffect(
    () => (stableToken ? installStableToken(source) : undefined),
    [source, stableToken],
  )
  useSignedOut(source, props.onSignedOut)
  const getSession = useMemo(() => sessionReader(source, stableToken), [source, stableToken])
  const session = useSyncExternalStore(source.subscribe, getSession, () => null)

  // While neither the props nor the session change, React does not render below this element.
  return useMemo(() => toElement(props, session), [props, session])
}

interface ProviderSession {
  /** The components start anew for another source and after a sign-out. */
  key: string
  props: LayerSessionProps
}

/** Makes a function that returns the same object until the props really change. */
function sessionReader(
  source: LayerTokenSource,
  stableToken: boolean,
): () => ProviderSession | null {
  let last: ProviderSession | null = null
  let lastText = ''
  return () => {
    const { session } = source.getSnapshot()
    if (!session) return (last = null)
    const key = source.stableToken
    const token = stableToken ? key : session.access_token
    const props = { ...session.layer_provider_props, businessAccessToken: token }
    const text = JSON.stringify([key, props])
    if (!last || text !== lastText) {
      last = { key, props }
      lastText = text
    }
    return last
  }
}

function toElement(
  props: LayerAuthProviderProps,
  session: ProviderSession | null,
): ReactElement {
  const { source, stableToken = true, onSignedOut: _, fallback, children, ...others } = props
  if (!session) return <>{fallback}</>
  const onError: LayerProviderProps['onError'] = (error) => {
    // With a stable token, the wrapper of `fetch` has already seen the answer.
    if (!stableToken && error.type === 'unauthenticated') {
      void source.refused(session.props.businessAccessToken)
    }
    props.onError?.(error)
  }
  return (
    <LayerProvider {...others} {...session.props} key={session.key} onError={onError}>
      {children}
    </LayerProvider>
  )
}

/** Calls `onSignedOut` once for each time that the user is signed out. */
function useSignedOut(source: LayerTokenSource, onSignedOut: (() => void) | undefined): void {
  const isSignedOut = useSyncExternalStore(
    source.subscribe,
    () => source.getSnapshot().status === 'signed-out',
    () => false,
  )
  const callback = useRef(onSignedOut)
  const wasSignedOut = useRef(false)
  useEffect(() => {
    callback.current = onSignedOut
  })
  useEffect(() => {
    // React's strict mode runs each effect twice.
    if (isSignedOut && !wasSignedOut.current) callback.current?.()
    wasSignedOut.current = isSignedOut
  }, [isSignedOut])
}
