// The page of an application: `<LayerProvider {...props}>` around components.
// It has no error boundary, so an error while rendering empties the page.

import { createRoot } from 'react-dom/client'
import * as Layer from '@layerfi/components'
import '@layerfi/components/index.css'

const { LayerProvider, ProfitAndLoss } = Layer

// Components that need more than their name.
const COMPONENTS = {
  ProfitAndLoss: () => (
    <ProfitAndLoss>
      <ProfitAndLoss.Summaries />
      <ProfitAndLoss.Chart />
      <ProfitAndLoss.Report />
    </ProfitAndLoss>
  ),
}

function component(name) {
  const Component = Layer[name]
  return COMPONENTS[name]?.() ?? <Component />
}

// render.mjs sets this before the page loads.
const { props, components } = window.testCase

createRoot(document.getElementById('root')).render(
  <LayerProvider {...props} onError={(error) => window.layerErrors.push(error.type)}>
    {components.map((name) => (
      <section key={name} data-component={name}>
        {component(name)}
      </section>
    ))}
  </LayerProvider>,
)
