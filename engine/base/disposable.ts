/** Something that holds resources (alarms, mappings, files) until it is disposed of. Disposing twice is harmless. */
export interface Disposable {
  dispose(): void;
}

/** Collects disposables and disposes of them in reverse order of arrival. */
export class DisposableStore implements Disposable {
  readonly #items: Disposable[] = [];
  #disposed = false;

  add<T extends Disposable>(item: T): T {
    if (this.#disposed) {
      item.dispose();
    } else {
      this.#items.push(item);
    }
    return item;
  }

  dispose(): void {
    this.#disposed = true;
    for (let item = this.#items.pop(); item !== undefined; item = this.#items.pop()) {
      item.dispose();
    }
  }
}
