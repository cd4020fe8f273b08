// @ts-check
/** Says why this page cannot start where its modules cannot be loaded at all: opened from disk, or an old browser. */
addEventListener("DOMContentLoaded", function () {
  var loading = document.getElementById("loading");
  if (loading === null) return;
  if (location.protocol === "file:")
    loading.textContent =
      "Browsers load this page from a server only. Run python3 -m http.server in its folder, and open http://localhost:8000";
  else if (!("noModule" in document.createElement("script")))
    loading.textContent = "This browser is too old for this page; a current Firefox, Chrome, Edge or Safari will do.";
});
