import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { parseTemplate, renderTemplate, TemplateError } from "../../crds/template.ts";
import type { TemplateValues } from "../../crds/template.ts";

const VALUES: TemplateValues = {
  namespace: "shop",
  pod: "checkout-1",
  container: "app",
  node: "n1",
  stream: "stderr",
  level: "warn",
  seconds: Date.UTC(2026, 10, 23, 9, 5) / 1000,
  fields: {
    user: "kim",
    http: { status: 500, ok: false },
    "a.b": "dotted",
    deep: { "x.y": 1 },
    list: [1, 2],
    none: null,
  },
};
const render = (source: string, values = VALUES): string => renderTemplate(parseTemplate(source), values);

test("names give the record's values, all else stays", () => {
  assert.equal(render("out/{namespace}/{pod}-{container}.{stream}.log"), "out/shop/checkout-1-app.stderr.log");
  assert.equal(render("{node} {level}"), "n1 warn");
  assert.equal(render("plain"), "plain");
  assert.equal(render(""), "");
});

test("date and hour are those of the record, in UTC", () => {
  assert.equal(render("{date}/{hour}"), "2026-11-23/09");
  assert.equal(render("{date} {hour}", { ...VALUES, seconds: 0xffffffff }), "2106-02-07 06");
});

test("fields are found by their own name first, then by the path that the dots lead", () => {
  assert.equal(render("{fields.user}"), "kim");
  assert.equal(render("{fields.http.status}"), "500");
  assert.equal(render("{fields[http.ok]}"), "false");
  assert.equal(render("{fields.a.b}"), "dotted");
  assert.equal(render("{fields.deep.x.y}"), "1");
  assert.equal(render("{fields.list}"), "[1,2]");
});

test("absent values are empty", () => {
  assert.equal(render("<{fields.nope}{fields.http.nope.x}{fields.none}{fields.user.length}>"), "<>");
  assert.equal(render("<{fields.user}>", { ...VALUES, fields: undefined }), "<>");
});

test("nothing that every object has is taken for a field", () => {
  assert.equal(render("<{fields.constructor}{fields.http.toString}{fields.__proto__}>"), "<>");
});

test("a template knows in what two records of a container can differ", () => {
  const varies = (source: string) => parseTemplate(source).varies;
  assert.deepEqual(varies("{namespace}{pod}{container}{node}"), {
    stream: false,
    level: false,
    time: false,
    fields: false,
  });
  assert.deepEqual(varies("{stream}{hour}"), { stream: true, level: false, time: true, fields: false });
  assert.deepEqual(varies("{level}{date}{fields.a}"), { stream: false, level: true, time: true, fields: true });
});

test("bad templates are refused with a sentence", () => {
  for (const source of [
    "{",
    "}",
    "{}",
    "{pod",
    "pod}",
    "{{pod}}",
    "{ pod }",
    "{Pod}",
    "{fields}",
    "{fields.}",
    "{pod.x}",
    "{fields[a}",
  ]) {
    assert.throws(() => parseTemplate(source), TemplateError, source);
  }
  for (const name of ["labels.app", "labels[app.kubernetes.io/name]", "annotations[x]", "owner"]) {
    assert.throws(() => parseTemplate(`{${name}}`), /needs Kubernetes metadata/);
  }
});

test("every text is either read with its parts in place, or refused", () => {
  const piece = fc.oneof(
    fc.constantFrom("{pod}", "{stream}", "{fields.a}", "{", "}", "{x}"),
    fc.string({ maxLength: 5 }),
  );
  fc.assert(
    fc.property(
      fc.array(piece, { maxLength: 8 }).map((pieces) => pieces.join("")),
      (source) => {
        let template;
        try {
          template = parseTemplate(source);
        } catch (error) {
          return error instanceof TemplateError;
        }
        const again = template.parts.map((part) => {
          if (typeof part === "string") return part;
          return part.key === undefined ? `{${part.name}}` : `{${part.name}.${part.key}}`;
        });
        return again.join("") === source && !template.parts.includes("");
      },
    ),
  );
});
