import { useState } from 'react'

export function SignIn() {
  const [error, setError] = useState('')

  async function signIn(event) {
    event.preventDefault()
    const { name, password } = Object.fromEntries(new FormData(event.target))
    const answer = await fetch('/sign-in', {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ name, password }),
    })
    if (answer.ok) location.assign('/')
    else setError('Wrong name or password.')
  }

  return (
    <form onSubmit={signIn}>
      <h1>Sign in</h1>
      <label>
        Name <input name="name" autoComplete="username" required />
      </label>
      <label>
        Password
        <input name="password" type="password" autoComplete="current-password" required />
      </label>
      <button>Sign in</button>
      {error && <p role="alert">{error}</p>}
    </form>
  )
}
