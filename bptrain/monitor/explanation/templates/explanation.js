"use strict";
const slider = document.getElementById("slider");
const play = document.getElementById("play");
if (slider) {
  const framed = document.querySelectorAll(".f");
  let timer = null;
  const show = () => {
    for (const each of framed) each.hidden = each.dataset.f !== slider.value;
  };
  const stop = () => {
    clearInterval(timer);
    timer = null;
    play.textContent = "▶";
  };
  slider.addEventListener("input", () => { stop(); show(); });
  play.addEventListener("click", () => {
    if (timer) return stop();
    if (slider.value === slider.max) slider.value = slider.min;
    show();
    play.textContent = "❚❚";
    timer = setInterval(() => {
      if (slider.value === slider.max) return stop();
      slider.stepUp();
      show();
    }, 1200);
  });
  show();
}
