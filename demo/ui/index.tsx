import { createRoot } from 'react-dom/client';
import { BrowserRouter } from 'react-router-dom';
import { App } from './App';

const root = document.getElementById('root');
if (root === null) {
  throw new Error('The page has no element with the id "root".');
}
createRoot(root).render(
  <BrowserRouter>
    <App />
  </BrowserRouter>
);
