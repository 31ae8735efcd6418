import assert from "node:assert/strict";
import { basename, dirname, sep } from "node:path";
import { test } from "node:test";
import fc from "fast-check";
import { parseTemplate, renderTemplate, type TemplateValues } from "../../../crds/template.ts";
import { pathNames, renderPath } from "../../../agent/sinks/file-path.ts";

const record: TemplateValues = {
  namespace: "shop",
  pod: "web-1",
  container: "app",
  node: "n1",
  stream: "stdout",
  level: "info",
  seconds: Date.parse("2026-11-23T09:00:00Z") / 1000,
  fields: { user: { id: 7 }, "a.b": "c" },
};

const pathOf = (source: string, ...values: string[]): string => renderPath(parseTemplate(source), values);

test("the names of a path render apart and fall into their places", () => {
  const path = parseTemplate("/var/{namespace}/{date}/{pod}-{fields.user.id}-{fields[a.b]}.{stream}.ndjson");
  const names = pathNames(path);
  const values = names.map((name) => renderTemplate(name, record));
  assert.deepEqual(values, ["shop", "2026-11-23", "web-1", "7", "c", "stdout"]);
  assert.equal(renderPath(path, values), "/var/shop/2026-11-23/web-1-7-c.stdout.ndjson");
});

test("the names say what they vary in, and read back as the same templates", () => {
  for (const name of pathNames(parseTemplate("{stream}/{level}/{hour}/{fields.a}/{pod}"))) {
    assert.deepEqual(parseTemplate(name.source), name);
  }
});

test("a path without names is the same for all records", () => {
  assert.deepEqual(pathNames(parseTemplate("/var/log/all.ndjson")), []);
  assert.equal(pathOf("/var/log/all.ndjson"), "/var/log/all.ndjson");
});

test("a relative path lies below the working directory", () => {
  assert.equal(pathOf("out/{namespace}.ndjson", "shop"), `${process.cwd()}/out/shop.ndjson`);
});

test("the author of the path may use .. and what records say may not", () => {
  assert.equal(pathOf("/a/b/../{pod}", "x"), "/a/x");
  const cases: [string, string[], string][] = [
    ["/a/{pod}", ["../../etc/passwd"], "/a/.._.._etc_passwd"],
    ["/a/{pod}", [".."], "/a/__"],
    ["/a/{pod}", ["."], "/a/_"],
    ["/a/{pod}/b", [""], "/a/_/b"],
    ["/a/{pod}{stream}/b", [".", "."], "/a/__/b"],
    ["/a/.{pod}/b", ["."], "/a/__/b"],
    ["/a/{pod}", ["/etc/passwd"], "/a/_etc_passwd"],
    ["{pod}/b", ["/etc"], `${process.cwd()}/_etc/b`],
    ["{pod}/b", [""], `${process.cwd()}/_/b`],
    ["/a/{pod}", ["x\0y\nz"], "/a/x_y_z"],
  ];
  for (const [path, values, expected] of cases)
    assert.equal(pathOf(path, ...values), expected, `${path} ${values.join()}`);
});

test("no value leads out of its folder", () => {
  const value = fc.oneof(fc.string({ unit: "binary" }), fc.constantFrom("..", ".", "/", "", "../..", "a/../../b"));
  fc.assert(
    fc.property(value, value, (a, b) => {
      const path = pathOf("/root/{pod}/x{fields.a}", a, b);
      assert.equal(dirname(dirname(path)), "/root");
      assert.ok(basename(path).startsWith("x"));
      assert.ok(!path.includes("\0"));
      for (const segment of path.split(sep)) assert.ok(Buffer.byteLength(segment) <= 255);
    }),
  );
});

test("a long name is cut to what a file system takes", () => {
  assert.equal(basename(pathOf("/a/{pod}", "é".repeat(300))), "é".repeat(127));
});
