import { globSync, readFileSync } from 'node:fs';
import { join, sep } from 'node:path';
import { projectRoot } from '../project.ts';
import { checkFile } from './check.ts';

// Another root may be named for the linter's own test.
const root = process.argv[2] ?? projectRoot;
const sources = globSync('{engine,main,renderer,native,assets,e2e,scripts}/**/*.{ts,tsx}', {
  cwd: root,
  exclude: (name) => name === 'node_modules',
});
const violations = sources.flatMap((file) =>
  checkFile(file.split(sep).join('/'), readFileSync(join(root, file), 'utf8')),
);
for (const { file, line, message } of violations) {
  console.error(`${file}:${line}: ${message}`);
}
if (violations.length > 0) {
  console.error(`${violations.length} forbidden import(s); the rules are in scripts/layers/rules.ts`);
  process.exitCode = 1;
} else {
  console.log(`Checked the imports of ${sources.length} files: everyone keeps to their layer.`);
}
