// A page on which one drops a picture and reads the age with its interval.
import { decode, openModel } from "/dist/src/browser.js";

const drop = document.getElementById("drop");
const output = document.querySelector("output");
const percent = new Intl.NumberFormat("en", { style: "percent" });

function say(text, isError = false) {
  output.textContent = text;
  output.classList.toggle("error", isError);
}

function sayAge({ age, low, high }, { coverage }) {
  say(low === undefined ? "" : `${percent.format(coverage)} interval: ${low.toFixed(1)} to ${high.toFixed(1)} years`);
  output.prepend(Object.assign(document.createElement("strong"), { textContent: `${age.toFixed(1)} years` }));
}

async function show(file) {
  const image = Object.assign(new Image(), { alt: file.name, src: URL.createObjectURL(file) });
  drop.querySelector("img, span").replaceWith(image);
  try {
    const model = await opening;
    const estimate = await model.estimate(await decode(file));
    output.dataset.estimate = JSON.stringify({ age: estimate.age, low: estimate.low, high: estimate.high });
    sayAge(estimate, model.description);
  } catch (error) {
    delete output.dataset.estimate;
    say(`${file.name}: ${error.message}`, true);
  }
}

drop.addEventListener("dragover", (event) => {
  event.preventDefault();
  drop.classList.add("over");
});
drop.addEventListener("dragleave", () => drop.classList.remove("over"));
drop.addEventListener("drop", (event) => {
  event.preventDefault();
  drop.classList.remove("over");
  const [file] = event.dataTransfer.files;
  if (file) show(file);
});
drop.querySelector("input").addEventListener("change", (event) => {
  const [file] = event.target.files;
  if (file) show(file);
});

const opening = openModel(new URLSearchParams(location.search).get("model") ?? "/model.onnx");
opening.then(
  ({ description }) => {
    say("Ready.");
    const { backbone, image_size } = description;
    document.getElementById("figures").textContent = `Model: ${backbone}, ${image_size} px.`;
  },
  (error) => say(error.message, true),
);
