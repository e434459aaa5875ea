import type { Disposable } from '../../engine/base/disposable.ts';

/**
 * Runs `open`, and gives the `<style>` elements that it makes a constructed style sheet each: the page's
 * Content-Security-Policy lets no element carry styles of its own, which the terminal library relies on.
 */
export function withAdoptedStyles(open: () => void): Disposable {
  const sheets = new Set<CSSStyleSheet>();
  const create = Document.prototype.createElement;
  document.createElement = ((name: string, options?: ElementCreationOptions) => {
    // A style element would be refused even while it is empty.
    const element = create.call(document, name === 'style' ? 'template' : name, options);
    if (name === 'style') {
      const sheet = new CSSStyleSheet();
      sheets.add(sheet);
      document.adoptedStyleSheets = [...document.adoptedStyleSheets, sheet];
      Object.defineProperty(element, 'textContent', {
        get: () => [...sheet.cssRules].map(({ cssText }) => cssText).join('\n'),
        set: (text: string) => sheet.replaceSync(text),
      });
    }
    return element;
  }) as typeof document.createElement;
  try {
    open();
  } finally {
    Reflect.deleteProperty(document, 'createElement');
  }
  return {
    dispose() {
      document.adoptedStyleSheets = document.adoptedStyleSheets.filter((sheet) => !sheets.has(sheet));
    },
  };
}
