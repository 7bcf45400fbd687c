-- Health of a MembershipCluster in Argo CD, by the rules of kstatus, so that Argo CD, Flux and Helm
-- agree. Goes into the ConfigMap argocd-cm under
-- resource.customizations.health.membership.unibus.dev_MembershipCluster
local generation = obj.metadata.generation
local status = obj.status or {}

local function condition(kind)
  for _, found in ipairs(status.conditions or {}) do
    if found.type == kind then
      return found
    end
  end
  return { status = "Unknown", message = "" }
end

local ready, degraded = condition("Ready"), condition("Degraded")
local reconciling, stalled = condition("Reconciling"), condition("Stalled")

if obj.metadata.deletionTimestamp ~= nil then
  return { status = "Progressing", message = "being deleted" }
end
if status.observedGeneration ~= generation then
  return { status = "Progressing", message = "the operator has not seen this generation yet" }
end
if stalled.status == "True" then
  return { status = "Degraded", message = stalled.message }
end
if obj.spec ~= nil and obj.spec.suspend == true then
  return { status = "Suspended", message = ready.message }
end
if reconciling.status == "True" then
  return { status = "Progressing", message = reconciling.message }
end
if ready.status == "True" then
  return { status = "Healthy", message = ready.message }
end
if degraded.status == "True" then
  return { status = "Degraded", message = degraded.message }
end
return { status = "Progressing", message = ready.message }
