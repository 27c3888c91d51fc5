import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import type { Rspack, RsbuildPlugin } from '@rsbuild/core';

/** The parts of a CycloneDX document that are rewritten. `npm sbom` writes them. */
interface Bom {
  serialNumber?: string;
  metadata: {
    timestamp?: string;
    component: {
      'bom-ref': string;
      name: string;
      version: string;
      purl: string;
      description?: string;
      properties?: unknown;
    };
  };
  components: { 'bom-ref': string; scope?: string; properties?: unknown }[];
  dependencies: { ref: string; dependsOn?: string[] }[];
}

/** Returns the npm packages of the modules in a bundle, each as `name@version`. */
function packagesOf(compilation: Rspack.Compilation): Set<string> {
  const directories = new Set<string>();
  const add = (module: Rspack.Module): void => {
    const directory = /^[^:]*\/node_modules\/(?:@[^/]+\/)?[^/]+/.exec(module.nameForCondition() ?? '');
    if (directory) directories.add(directory[0]);
    if ('modules' in module) (module.modules as Rspack.Module[]).forEach(add);
  };
  for (const module of compilation.modules) {
    if ([...compilation.chunkGraph.getModuleChunksIterable(module)].length > 0) add(module);
  }
  return new Set(
    [...directories].map((each) => {
      const read = JSON.parse(readFileSync(`${each}/package.json`, 'utf8')) as { name: string; version: string };
      return `${read.name}@${read.version}`;
    })
  );
}

/**
 * Writes which npm packages a bundle holds, as CycloneDX 1.5 in JSON. Packages that Perses brings, and those that only build
 * or test, are not in it. The same packages give the same bytes.
 *
 * @param name of the plugin module
 * @param file to write
 */
export function pluginSbom(name: string, file: string): RsbuildPlugin {
  return {
    name: 'tiered-prometheus:sbom',
    setup(api) {
      api.onAfterBuild(({ stats }) => {
        if (!stats || !('compilation' in stats)) throw new Error('the build has no statistics of one compilation');
        const bundled = packagesOf(stats.compilation);
        const bom = JSON.parse(
          execFileSync('npm', ['sbom', '--include=dev', '--sbom-format=cyclonedx'], {
            encoding: 'utf8',
            maxBuffer: 1 << 26,
          })
        ) as Bom;
        delete bom.serialNumber;
        delete bom.metadata.timestamp;
        const { component } = bom.metadata;
        const root = component['bom-ref'];
        component.name = name;
        component['bom-ref'] = component.purl = `pkg:generic/${name}@${component.version}`;
        delete component.description;
        delete component.properties;
        bom.components = bom.components.filter((each) => bundled.has(each['bom-ref']));
        if (bom.components.length !== bundled.size)
          throw new Error(`npm sbom lists some of these packages only: ${[...bundled].join(', ')}`);
        for (const each of bom.components) {
          each.scope = 'required';
          delete each.properties; // They say what npm installs for development, which is all of it.
        }
        bom.dependencies = bom.dependencies
          .filter(({ ref }) => ref === root || bundled.has(ref))
          .map(({ ref, dependsOn }) => ({
            ref: ref === root ? component['bom-ref'] : ref,
            dependsOn: dependsOn?.filter((each) => bundled.has(each)),
          }));
        writeFileSync(file, JSON.stringify(bom, null, 2) + '\n');
      });
    },
  };
}
