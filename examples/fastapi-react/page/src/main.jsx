import { useEffect, useState } from 'react'
import { createRoot } from 'react-dom/client'
import { Books } from './books.jsx'
import { SignIn } from './sign-in.jsx'
import './style.css'

function App() {
  const [user, setUser] = useState()
  useEffect(() => {
    fetch('/me').then(async (answer) => setUser(answer.ok ? await answer.json() : null))
  }, [])
  if (user === undefined) return null
  return user ? <Books company={user.company} /> : <SignIn />
}

createRoot(document.getElementById('root')).render(<App />)
