"use strict";
(function () {
  var root = document.documentElement;
  var theme = document.querySelector(".theme");
  theme.hidden = false;
  theme.addEventListener("click", function () {
    var dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
  });
  var time = document.querySelector("#timeline .time");
  if (!time) return;
  var total = Number(time.dataset.cycles), passes = Number(time.dataset.passes);
  var pictures = time.querySelectorAll("svg"), ticks = time.querySelector(".ticks"), range = document.querySelector(".range");
  var from = 0, to = total;
  var group = function (n) { return Math.round(n).toString().replace(/\B(?=(\d{3})+$)/g, "\u202f"); };
  function show(start, width) {
    width = Math.min(total, Math.max(20, width));
    start = Math.min(total - width, Math.max(0, start));
    from = start; to = start + width;
    pictures.forEach(function (p) { p.setAttribute("viewBox", from + " 0 " + width + " 10"); });
    time.classList.toggle("near", passes * width / total < 250);
    var step = Math.pow(10, Math.floor(Math.log10(width / 4)));
    step *= [1, 2, 5, 10].find(function (m) { return width / (m * step) <= 6; });
    ticks.textContent = "";
    for (var at = Math.ceil(from / step) * step; at <= from + 0.97 * width; at += step) {
      var tick = document.createElement("span");
      tick.style.setProperty("--x", 100 * (at - from) / width + "%");
      tick.textContent = group(at);
      ticks.append(tick);
      if (tick.offsetLeft + tick.offsetWidth > ticks.clientWidth) tick.remove();
    }
    range.textContent = "cycles " + group(from) + " to " + group(to);
  }
  function zoom(factor, at) {
    var middle = from + (to - from) * at;
    show(middle - (to - from) * factor * at, (to - from) * factor);
  }
  var moves = {
    in: function () { zoom(0.5, 0.5); },
    out: function () { zoom(2, 0.5); },
    left: function () { show(from - (to - from) / 4, to - from); },
    right: function () { show(from + (to - from) / 4, to - from); },
    all: function () { show(0, total); }
  };
  var tools = document.querySelector("#timeline .tools");
  tools.hidden = false;
  tools.addEventListener("click", function (event) {
    var move = moves[event.target.dataset.move];
    if (move) move();
  });
  pictures.forEach(function (picture) {
    picture.addEventListener("wheel", function (event) {
      if (!event.ctrlKey && !event.shiftKey) return;
      event.preventDefault();
      var box = picture.getBoundingClientRect();
      zoom(event.deltaY + event.deltaX < 0 ? 0.8 : 1.25, (event.clientX - box.left) / box.width);
    }, { passive: false });
    var held = null;
    picture.addEventListener("pointerdown", function (event) { held = event.clientX; });
    picture.addEventListener("pointermove", function (event) {
      if (held === null || !event.buttons) { held = null; return; }
      show(from + (held - event.clientX) / picture.getBoundingClientRect().width * (to - from), to - from);
      held = event.clientX;
    });
  });
  show(0, total);
})();
