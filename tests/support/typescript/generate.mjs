// Types of the AsyncAPI document by two generators: node generate.mjs DOCUMENT.json FOLDER
import { readFileSync, writeFileSync } from "node:fs";
import { TypeScriptGenerator } from "@asyncapi/modelina";
import { compile } from "json-schema-to-typescript";

const [path, folder] = process.argv.slice(2);
const text = readFileSync(path, "utf8");
const asyncapi = JSON.parse(text);

const names = Object.keys(asyncapi.components.schemas);
const everything = JSON.parse(
  JSON.stringify({ title: "Everything", oneOf: names.map((name) => ({ $ref: `#/definitions/${name}` })), definitions: asyncapi.components.schemas })
    .replaceAll("#/components/schemas/", "#/definitions/"),
);
writeFileSync(`${folder}/from_schema.ts`, await compile(everything, "Everything", { additionalProperties: false }));

const models = await new TypeScriptGenerator({ modelType: "interface", enumType: "union", mapType: "record" }).generate(asyncapi);
const made = models.map((model) => model.result).join("\n\n");
writeFileSync(`${folder}/from_asyncapi.ts`, `${made}\n\nexport {};\n`);
const anonymous = models.map((model) => model.modelName).filter((name) => /anonymous/i.test(name));
if (anonymous.length) {
  console.error(`schemas without a name: ${anonymous.join(", ")}`);
  process.exit(1);
}
