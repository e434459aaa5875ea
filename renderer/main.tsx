import { createRoot } from 'react-dom/client';
import { currentShell } from './api/shell.ts';
import { App } from './app.tsx';
import { chooseLanguage, setUpTexts } from './i18n/i18n.ts';

setUpTexts(chooseLanguage(undefined, navigator.languages));

const root = document.getElementById('root');
if (root !== null) {
  createRoot(root).render(<App shell={currentShell()} />);
}
