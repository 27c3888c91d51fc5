// The module has no page of its own: what Perses loads are the modules that rsbuild.config.ts exposes.
export {};
